/** What has to be synchronous, and is found not to be when it has returned. */

/** @param what begins the sentence: "the body of a transaction". @throws TypeError when `result` is a promise */
export function refuseSlowBody(result: unknown, what: string): void {
  if (typeof (result as { then?: unknown } | null | undefined)?.then !== 'function') return;
  (result as PromiseLike<unknown>).then(undefined, () => {}); // what it will come to is of no interest any more
  throw new TypeError(`${what} is synchronous, and this one returned a promise: nothing of it has happened`);
}
