/** Compiles packages in the order of their project references, incrementally, and removes outputs whose source is gone. */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { packages, root, tool } from './workspace.mjs';

/** @param projects folders or tsconfig files for `tsc -b`. Returns its exit code. */
export function build(projects) {
  for (const { folder } of packages()) removeOrphans(join(root, folder, 'dist'), join(root, folder, 'src'));
  return tool('tsc', ['-b', ...projects]);
}

/** tsc leaves the output of a deleted or renamed source behind, and a package would publish it. */
function removeOrphans(dist, src) {
  if (!existsSync(dist)) return;
  for (const entry of readdirSync(dist, { withFileTypes: true })) {
    const output = join(dist, entry.name);
    if (entry.isDirectory()) {
      if (existsSync(join(src, entry.name))) removeOrphans(output, join(src, entry.name));
      else rmSync(output, { recursive: true });
    } else if (/\.(js|d\.ts)(\.map)?$/.test(entry.name)) {
      const source = entry.name.replace(/\.(js|d\.ts)(\.map)?$/, '.ts');
      if (!existsSync(join(src, source)) && !existsSync(join(src, `${source}x`))) rmSync(output);
    }
  }
}
