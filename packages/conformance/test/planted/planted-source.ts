/**
 * Our own code with a mistake in it: modules are loaded anew with a few places of their source text replaced. So tests can be shown
 * to find what they are there for, without a switch in the code that people run.
 *
 * A place that is not there, or not once, is an error: a bug that was not planted would be found by nobody, and prove nothing.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createViteServer } from 'vitest/node';

export const ROOT = fileURLToPath(new URL('../../../..', import.meta.url));
type ViteDevServer = Awaited<ReturnType<typeof createViteServer>>;
const CONDITIONS = ['@pdata/source', 'module', 'node', 'development|production'];

/** One place of one file. */
export interface SourceEdit {
  /** From the root of the workspace. */
  readonly file: string;
  /** Text that is there exactly once. */
  readonly replace: string;
  readonly by: string;
}

/** Replaces what `edits` name, in whatever of these files is loaded. */
export function plantingPlugin(edits: () => readonly SourceEdit[]) {
  return {
    name: 'planted-bugs',
    enforce: 'pre' as const,
    transform(code: string, id: string): string | undefined {
      const [path] = id.split('?');
      const ours = edits().filter(({ file }) => join(ROOT, file) === path);
      return ours.length === 0 ? undefined : ours.reduce(planted, code);
    },
  };
}

/** @throws when the text is not in its file, once */
export function requirePlaces(edits: readonly SourceEdit[]): void {
  for (const edit of edits) planted(readFileSync(join(ROOT, edit.file), 'utf8'), edit);
}

function planted(code: string, { file, replace, by }: SourceEdit): string {
  const nr = code.split(replace).length - 1;
  if (nr !== 1) throw new Error(`${file} has ${nr} times, not once: ${replace}`);
  return code.replace(replace, () => by);
}

/** Loads modules of the workspace with bugs in them, one set of bugs after the other. */
export class PlantedModules {
  readonly #server: ViteDevServer;
  #edits: readonly SourceEdit[] = [];

  private constructor(start: (edits: () => readonly SourceEdit[]) => ViteDevServer) {
    this.#server = start(() => this.#edits);
  }

  static async open(): Promise<PlantedModules> {
    let current = (): readonly SourceEdit[] => [];
    const server = await createViteServer({
      root: ROOT,
      configFile: false,
      logLevel: 'error',
      cacheDir: 'node_modules/.cache/vite-planted',
      resolve: { conditions: CONDITIONS },
      ssr: { resolve: { conditions: CONDITIONS } },
      oxc: { target: 'node20' }, // as vitest does: what TypeScript has and Node 20 has not is compiled away
      server: { middlewareMode: true, watch: null, hmr: false, ws: false },
      optimizeDeps: { noDiscovery: true },
      plugins: [plantingPlugin(() => current())],
    });
    return new PlantedModules((edits) => {
      current = edits;
      return server;
    });
  }

  /** The module `file`, from the root of the workspace, and all that it imports of the workspace, loaded anew. */
  async load<Module>(file: string, edits: readonly SourceEdit[]): Promise<Module> {
    requirePlaces(edits);
    this.#edits = edits;
    this.#server.moduleGraph.invalidateAll();
    return (await this.#server.ssrLoadModule(`/${file}`)) as Module;
  }

  async close(): Promise<void> {
    await this.#server.close();
  }
}
