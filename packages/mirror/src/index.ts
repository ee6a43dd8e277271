/**
 * Linux's mirror target in user space: writes to several legs, and a log of the regions in which they may differ.
 * @packageDocumentation
 */
export { MAX_LEGS, MIN_LEGS } from './format/limits.js';
