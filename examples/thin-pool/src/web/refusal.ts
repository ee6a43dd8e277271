/**
 * A request that is turned down: the status, a code for programs and one sentence for people. Thrown by whatever notices, and
 * answered in one place (web-page.ts). The sentence goes to whoever asked, known or not: it never holds a secret.
 */
import { StoreError } from '@pdata/device';

export class Refusal extends StoreError {
  override readonly name = 'Refusal';
  constructor(
    readonly status: number,
    readonly code: `ERR_${string}`,
    message: string,
    /** Further headers, such as `Allow`. */
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
  }
}
