/** What is needed of `fetch`: browsers and Node have it, and tests bring their own. */

export interface HttpBodyReader {
  read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }>;
  cancel(reason?: unknown): Promise<void>;
}

export interface HttpResponse {
  readonly status: number;
  readonly statusText: string;
  /** Where it came from in the end, after redirects; may be empty. */
  readonly url: string;
  readonly headers: { get(name: string): string | null };
  readonly body: { getReader(): HttpBodyReader } | null;
}

export type HttpFetch = (
  url: string,
  init: {
    readonly headers: Record<string, string>;
    readonly signal: AbortSignal;
    readonly redirect: 'follow';
    readonly cache: 'no-store';
  },
) => Promise<HttpResponse>;
