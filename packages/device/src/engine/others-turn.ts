/** Resolves when the event loop has turned: for work that waits for no device, and would hold up everything else. */
export const othersTurn = (): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, 0);
  });
