/**
 * Memory that starts at a multiple of 64 KiB, as direct I/O wants it and as neither `Buffer` nor `Uint8Array` promise it.
 *
 * A WebAssembly memory starts on a page of the machine in every engine, because bounds are guarded by protecting pages.
 * Nothing else in plain Node is aligned on purpose.
 */

interface WebAssemblyMemory {
  Memory: new (size: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer };
}

const WASM_PAGE = 65536;
const BOUNCE_SIZE = 2 ** 20;

let bounce: Uint8Array | undefined;

/** The aligned 1 MiB that the bytes of all synchronous direct I/O pass through. One is enough. */
export function bounceMemory(): Uint8Array {
  bounce ??= alignedMemory(BOUNCE_SIZE);
  return bounce;
}

/** New memory of `size` bytes, a multiple of 64 KiB. Never given back as long as any part of it is in use. */
export function alignedMemory(size: number): Uint8Array {
  const { Memory } = (globalThis as unknown as { WebAssembly: WebAssemblyMemory }).WebAssembly;
  const pages = size / WASM_PAGE;
  return new Uint8Array(new Memory({ initial: pages, maximum: pages }).buffer);
}
