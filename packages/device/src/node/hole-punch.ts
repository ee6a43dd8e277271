/**
 * Punches holes into a file, and keeps the map of holes right while writes are in flight.
 *
 * A punch and a write that overlap may be done in any order, and the order is not known afterwards. So a punch marks as
 * holes only units that no write was in flight to at any moment of it: a write that begins spoils the punches it touches,
 * and a punch that begins is spoiled by the writes it finds. A spoiled punch has still been done; only its units are called
 * data, which is never wrong.
 *
 * Where the file system or the platform knows no holes, that is found out by the first punch, which changes nothing, and
 * not tried again.
 */
import { type HoleMap, UNIT_SIZE } from './hole-map.js';
import { loadNativeExtensions } from './native-extensions.js';

/** Bytes from..to-1. */
interface Span {
  readonly from: number;
  readonly to: number;
}

interface Punch extends Span {
  isSpoiled: boolean;
}

/** What a system says that cannot punch holes: here, in files of this kind, or at all. */
const UNSUPPORTED = new Set(['EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'EINVAL', 'ENODEV', 'ENOTTY']);

export class HolePunch {
  readonly #fd: number;
  readonly #holes: HoleMap;
  #isSupported = true;
  readonly #punches = new Set<Punch>();
  readonly #writes = new Set<Span>();

  constructor(fd: number, holes: HoleMap) {
    this.#fd = fd;
    this.#holes = holes;
  }

  /** False when a punch has shown that there are no holes here. */
  get isSupported(): boolean {
    return this.#isSupported;
  }

  /** To be called before a write that will be over before anything else can happen. */
  aboutToWrite(offset: number, length: number): void {
    if (length === 0) return;
    this.#holes.set(Math.floor(offset / UNIT_SIZE), Math.ceil((offset + length) / UNIT_SIZE), 'data');
    if (this.#punches.size === 0) return;
    for (const punch of this.#punches) if (offset < punch.to && punch.from < offset + length) punch.isSpoiled = true;
  }

  /** To be called before a write that will be in flight. @returns what to call when it is over */
  beginWrite(offset: number, length: number): () => void {
    this.aboutToWrite(offset, length);
    const span = { from: offset, to: offset + length };
    this.#writes.add(span);
    return () => this.#writes.delete(span);
  }

  /**
   * Makes a hole of the bytes from..to-1: whole units, the last one perhaps cut by the end of the device.
   * @returns false when there are no holes here: then nothing was changed
   * @throws a system error
   */
  async punch(from: number, to: number): Promise<boolean> {
    if (!this.#isSupported) return false;
    const [first, end] = [from / UNIT_SIZE, Math.ceil(to / UNIT_SIZE)];
    if (this.#holes.areHoles(first, end)) return true;
    const punch: Punch = { from, to, isSpoiled: this.#isBeingWritten(from, to) };
    this.#punches.add(punch);
    try {
      await loadNativeExtensions().trim(this.#fd, from, to - from);
    } catch (error) {
      if (!isUnsupported(error)) throw error;
      this.#isSupported = false;
      return false;
    } finally {
      this.#punches.delete(punch);
    }
    if (!punch.isSpoiled) this.#holes.set(first, end, 'hole');
    return true;
  }

  #isBeingWritten(from: number, to: number): boolean {
    for (const write of this.#writes) if (write.from < to && from < write.to) return true;
    return false;
  }
}

function isUnsupported(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  // Without its native library nothing can be punched either.
  return code === undefined || UNSUPPORTED.has(code) || code.includes('MODULE') || code.includes('DLOPEN');
}
