/* Deterministic block I/O for the guests: iogen MODE DEVICE SEED COUNT SIZE START LENGTH
 *
 *   write    COUNT random SIZE-aligned writes of SIZE bytes inside [START, START+LENGTH), filled from (SEED, index)
 *   seq      writes the range in order, SIZE bytes at a time (COUNT is ignored)
 *   discard  COUNT random SIZE-aligned discards of SIZE bytes inside the range
 *   read     reads the range in order (COUNT is ignored)
 *
 * The same arguments always make the same device. Ends with fsync. IOGEN_DIRECT in the environment bypasses the page cache.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#ifndef BLKDISCARD
#define BLKDISCARD _IO(0x12, 119)
#endif

static uint64_t state;

/* splitmix64 */
static uint64_t next(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15ull;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* One random word in eight, so that images compress well and no two blocks are alike. */
static void fill(uint64_t *words, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes / 8; i++)
		words[i] = i % 8 ? 0 : next();
}

int main(int argc, char **argv)
{
	if (argc != 8) {
		fprintf(stderr, "usage: iogen write|seq|discard|read DEVICE SEED COUNT SIZE START LENGTH\n");
		return 2;
	}
	const char *mode = argv[1];
	uint64_t seed = strtoull(argv[3], 0, 0), count = strtoull(argv[4], 0, 0), size = strtoull(argv[5], 0, 0);
	uint64_t start = strtoull(argv[6], 0, 0), length = strtoull(argv[7], 0, 0);
	int sequential = !strcmp(mode, "seq") || !strcmp(mode, "read");
	int fd = open(argv[2], O_RDWR | (getenv("IOGEN_DIRECT") ? O_DIRECT : 0));
	if (fd < 0) {
		perror(argv[2]);
		return 1;
	}
	char *buffer;
	if (posix_memalign((void **)&buffer, 4096, size))
		return 1;

	uint64_t slots = length / size, total = sequential ? slots : count;
	state = seed * 1000003;
	for (uint64_t i = 0; i < total; i++) {
		uint64_t at = start + (sequential ? i : next() % slots) * size;
		if (!strcmp(mode, "discard")) {
			uint64_t range[2] = { at, size };
			if (ioctl(fd, BLKDISCARD, range)) {
				perror("discard");
				return 1;
			}
		} else if (!strcmp(mode, "read")) {
			if (pread(fd, buffer, size, at) != (ssize_t)size) {
				perror("read");
				return 1;
			}
		} else {
			uint64_t kept = state;
			state = seed ^ (i << 20) ^ at;
			fill((uint64_t *)buffer, size);
			state = kept;
			ssize_t written = pwrite(fd, buffer, size, at);
			if (written != (ssize_t)size) {
				fprintf(stderr, "write at %llu: %s\n", (unsigned long long)at, written < 0 ? strerror(errno) : "short");
				return 1;
			}
		}
	}
	if (fsync(fd)) {
		perror("fsync");
		return 1;
	}
	return 0;
}
