/**
 * Linux's clone target in user space: a read-only source copied region by region into a destination that is in use already.
 * @packageDocumentation
 */
export { MAX_REGION_SIZE, MIN_REGION_SIZE } from './format/limits.js';
