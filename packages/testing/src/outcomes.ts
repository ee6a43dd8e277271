/** Waiting for what a test is about. */

/** What `work` rejects with. Rejects itself when `work` does not. */
export async function rejection(work: Promise<unknown>): Promise<Error & { code?: string }> {
  const outcome = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (outcome instanceof Error) return outcome;
  throw new Error(outcome === undefined ? 'a rejection was expected, but it resolved' : `rejected with ${outcome}`);
}

/** Everything that can go on without time or a test's help has gone on. */
export async function quiet(): Promise<void> {
  for (let nr = 0; nr < 20; nr++) await new Promise((resolve) => setTimeout(resolve, 0));
}
