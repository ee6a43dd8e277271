/** Commands that bring data in and out: raw images, and whole pools of the kernel's. */
import { setMaxListeners } from 'node:events';
import { type Command, type Io, UsageError } from '../command-line/command.js';
import { progressLine } from '../command-line/progress.js';
import { connectToHost } from '../control/remote-host.js';
import { contentFrames } from '../stream/send.js';
import { openImage, refuseOwnFile, type Write, writeImages } from '../transfer/image-file.js';
import { importImage } from '../transfer/import-image.js';
import { exportPool, importPool } from '../transfer/kernel-pool.js';
import { PoolError, quoted } from '../words/pool-error.js';
import { formatSize } from '../words/sizes.js';
import { DIR, operand, sizeOption } from './operands.js';
import { withPool } from './with-pool.js';

export const importCommand: Command = {
  name: 'import',
  summary: 'Make a volume from a raw disk image.',
  operands: [
    DIR,
    { name: 'FILE', help: 'The image: a file or a block device. Only read.' },
    { name: 'NAME', help: 'Name of the new volume.' },
  ],
  options: {
    size: { kind: 'value', placeholder: 'SIZE', help: 'Size of the volume, when it shall be larger than the image.' },
  },
  notes: `What is zero in the image takes no space. Other formats: convert them first, e.g.
  qemu-img convert -O raw disk.qcow2 disk.raw`,
  async run(args, io) {
    const [file, name] = [operand(args, 'FILE'), operand(args, 'NAME')];
    const size = sizeOption(args, 'size');
    refuseOwnFile(file);
    const image = await openImage(file);
    try {
      if (size !== undefined && size < image.size) {
        throw new PoolError(
          'ERR_SIZE',
          `--size ${formatSize(size)} is less than the image has: ${formatSize(image.size)}`,
        );
      }
      const progress = progressLine(io, `Importing ${quoted(file)}`);
      const made = await withPool(operand(args, 'DIR'), (host) =>
        importImage(host, image, {
          name,
          ...(size === undefined ? {} : { size }),
          signal: io.signal,
          onProgress: (done) => progress.show(done, image.size),
        }),
      ).finally(() => progress.end());
      const filled =
        image.size === image.fileSize ? '' : `, filled up to whole sectors with ${image.size - image.fileSize} zeros`;
      await io.out(
        `Imported ${quoted(file)} as ${quoted(made.name)}: ${formatSize(made.size)}${filled}, ${formatSize(made.mapped)} in the pool.\n`,
      );
      return 0;
    } finally {
      await image.close();
    }
  },
};

export const exportCommand: Command = {
  name: 'export',
  summary: 'Write a volume or a snapshot as a raw disk image.',
  operands: [
    DIR,
    { name: 'NAME', help: 'What is written.' },
    { name: 'FILE', help: 'The image. It is sparse, and appears when it is complete; "-" for the standard output.' },
  ],
  options: { force: { kind: 'flag', short: 'f', help: 'Replace FILE if it is there.' } },
  notes: 'A volume that is in use changes while it is read: export a snapshot of it.',
  async run(args, io) {
    const [name, file] = [operand(args, 'NAME'), operand(args, 'FILE')];
    setMaxListeners(0, io.signal);
    await withPool(operand(args, 'DIR'), async (host) => {
      const device = await host.openVolume({ name, mode: 'read' });
      const progress = progressLine(io, `Exporting ${quoted(name)}`);
      try {
        const whole = [{ offset: 0, length: device.size }];
        const frames = contentFrames(device, whole, { skipZeros: file !== '-' });
        if (file === '-') {
          if (io.outIsTerminal)
            throw new UsageError('an image does not belong on a terminal: name a file, or send it into a pipe');
          for await (const frame of frames) {
            io.signal.throwIfAborted();
            if (frame.kind === 'data') await io.outBytes(frame.bytes);
            else await writeZeros(io, frame.length);
            progress.show(frame.position, device.size);
          }
          return;
        }
        const image = {
          path: file,
          size: device.size,
          async fill(write: Write) {
            for await (const frame of frames) {
              io.signal.throwIfAborted();
              if (frame.kind === 'data') await write(frame.position, frame.bytes);
              progress.show(frame.position, device.size);
            }
          },
        };
        await writeImages([image], { force: args.flags.has('force') });
        await io.out(`Exported ${quoted(name)} to ${quoted(file)}: ${formatSize(device.size)}.\n`);
      } finally {
        progress.end();
        await device.close();
      }
    });
    return 0;
  },
};

async function writeZeros(io: Io, length: number): Promise<void> {
  const zeros = new Uint8Array(Math.min(length, 1024 * 1024));
  for (let left = length; left > 0; left -= zeros.length) {
    await io.outBytes(zeros.subarray(0, Math.min(left, zeros.length)));
  }
}

const IMAGES = {
  metadata: { kind: 'value', placeholder: 'FILE', help: "The metadata image, in the kernel's format." },
  data: { kind: 'value', placeholder: 'FILE', help: 'The data image.' },
} as const;

export const importPoolCommand: Command = {
  name: 'import-pool',
  summary: "Make a pool from a kernel's thin pool: a metadata image and a data image.",
  operands: [{ name: 'DIR', help: 'Directory for the new pool: empty, or not there yet.' }],
  options: {
    ...IMAGES,
    raw: { kind: 'flag', help: "Keep the metadata as a plain image in the kernel's format, instead of in LMDB." },
  },
  notes: `The pool must not be active in the kernel. Its volumes get the names thin-ID and the size up to their last block; rename and resize
them as they were:
  thin-pool volume rename DIR thin-1 root
  thin-pool volume resize DIR root 20G`,
  async run(args, io) {
    const directory = operand(args, 'DIR');
    await importPool(directory, imagesOf(args.values), args.flags.has('raw') ? 'raw' : 'lmdb');
    const volumes = await withPool(directory, (host) => host.volumes());
    await io.out(
      `Made the pool ${directory} with ${volumes.length} volumes: ${volumes.map(({ name }) => name).join(', ')}.\n`,
    );
    return 0;
  },
};

export const exportPoolCommand: Command = {
  name: 'export-pool',
  summary: "Write the pool as a kernel's: a metadata image and a data image.",
  operands: [DIR],
  options: { ...IMAGES, force: { kind: 'flag', short: 'f', help: 'Replace files that are there.' } },
  notes: `Names are not part of the kernel's format: see the ids with volume list --json. To activate it, as root:
  dmsetup create pool --table "0 SECTORS thin-pool METADATA DATA BLOCKSECTORS 0"`,
  async run(args, io) {
    const directory = operand(args, 'DIR');
    const images = imagesOf(args.values);
    const served = await connectToHost(directory);
    if (served !== undefined) {
      await served.close();
      throw new PoolError(
        'ERR_POOL_BUSY',
        'the pool is being served: stop that first, so that both images are of one moment',
      );
    }
    await exportPool(directory, images, { force: args.flags.has('force') });
    await io.out(`Exported the pool to ${quoted(images.metadata)} and ${quoted(images.data)}.\n`);
    return 0;
  },
};

function imagesOf({ metadata, data }: Readonly<Record<string, string | undefined>>) {
  if (metadata === undefined || data === undefined)
    throw new UsageError('both --metadata FILE and --data FILE are needed');
  return { metadata, data };
}
