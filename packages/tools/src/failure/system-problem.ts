/** What the operating system refused, in its words, without its codes and calls: "too many symbolic links encountered". */
export function systemProblem(error: unknown): string | undefined {
  const [, problem] = /^E[A-Z0-9]+: (.+?), \w+/.exec(error instanceof Error ? error.message : '') ?? [];
  return problem;
}
