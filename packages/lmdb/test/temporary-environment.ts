/** An environment in a directory of its own, for a test. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LmdbEnvironment, type OpenEnvironmentOptions } from '@pdata/lmdb';

export interface TemporaryEnvironment {
  readonly path: string;
  readonly environment: LmdbEnvironment;
  /** Closes it and removes the directory. */
  end(): Promise<void>;
}

export function temporaryEnvironment(options: OpenEnvironmentOptions = {}): TemporaryEnvironment {
  const path = mkdtempSync(join(tmpdir(), 'pdata-lmdb-'));
  const environment = LmdbEnvironment.open(path, { create: true, ...options });
  return {
    path,
    environment,
    async end() {
      await environment.close();
      rmSync(path, { recursive: true });
    },
  };
}
