/** What to do about what the operating system refuses, wherever it does: commands that know more say so themselves. */
const ADVICE: Readonly<Record<string, string>> = {
  EACCES: 'check who owns it, and its permissions',
  EADDRNOTAVAIL: 'give an address of this machine, or none',
  EDQUOT: 'make room, or have the quota raised',
  EFBIG: 'have the largest size of a file raised (ulimit -f), or take a file system that has larger ones',
  EIO: 'see what the system log says of the device (dmesg), and copy what can be read of it to another',
  ELOOP: 'check the path',
  EMFILE: 'have the number of open files raised (ulimit -n)',
  ENAMETOOLONG: 'check the path',
  ENFILE: 'have the number of open files raised',
  ENOSPC: 'make room on its file system, or give a path on another',
  ENOTDIR: 'check the path',
  EPERM: 'check who owns it, and its permissions',
  EROFS: 'give a path on a file system that can be written to',
};

/** @returns undefined when the system refused nothing, or nothing that there is advice for */
export function systemAdvice(error: unknown): string | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const { code } = cause as { readonly code?: unknown };
    if (typeof code === 'string' && ADVICE[code] !== undefined) return ADVICE[code];
  }
  return undefined;
}
