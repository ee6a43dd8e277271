/** Waits for every part of a request: fails when all have ended, with the first error. */
export async function allEnded(parts: readonly Promise<unknown>[]): Promise<void> {
  for (const result of await Promise.allSettled(parts)) {
    if (result.status === 'rejected') throw result.reason;
  }
}
