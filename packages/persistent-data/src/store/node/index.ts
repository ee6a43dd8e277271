/**
 * Stores in files. Start at {@link openStore}.
 * @packageDocumentation
 */
export { backupStore, compactStore } from './copy-store.js';
export { openStore, type StoreFileOptions } from './open-store.js';
