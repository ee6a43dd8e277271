/**
 * The files of the page, from page/ beside this source, in memory: a request can name one of them and nothing else, so no path
 * of a request ever meets the file system. Plain files that a browser runs as they are (the scripts are JavaScript with types in
 * JSDoc, checked by page/tsconfig.json): no bundler, no framework, nothing fetched from elsewhere.
 */
import { readFileSync } from 'node:fs';

export interface PageFile {
  readonly type: string;
  readonly bytes: Buffer;
}

// From src/web and from dist/web alike.
const FOLDER = new URL('../../src/web/page/', import.meta.url);
const STYLES = ['base.css', 'pool.css', 'controls.css', 'fitting.css'];
const SCRIPTS = [
  'charts.js',
  'dialogs.js',
  'feed.js',
  'format.js',
  'main.js',
  'pool-view.js',
  'sharing-map.js',
  'token.js',
  'volume-tree.js',
  'volume-view.js',
];

/** By the path of the request. */
export function loadPageFiles(): ReadonlyMap<string, PageFile> {
  const file = (name: string, type: string): PageFile => ({ type, bytes: readFileSync(new URL(name, FOLDER)) });
  return new Map([
    ['/', file('index.html', 'text/html; charset=utf-8')],
    ...STYLES.map((name) => [`/${name}`, file(name, 'text/css; charset=utf-8')] as const),
    ['/icon.svg', file('icon.svg', 'image/svg+xml')],
    ...SCRIPTS.map((name) => [`/${name}`, file(name, 'text/javascript; charset=utf-8')] as const),
  ]);
}
