/** Status lines in the kernel's words. */
import { StoreError } from '../errors.js';

/** The line, or `Error`: the kernel's answer when a number cannot be read. */
export function lineOrError(line: () => string): string {
  try {
    return line();
  } catch (error) {
    if (error instanceof StoreError) return 'Error';
    throw error;
  }
}
