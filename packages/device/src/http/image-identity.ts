/**
 * Which image a response is a part of, so that parts of two are never taken for one.
 *
 * The best thing that the server says is compared in every response, besides the length of the whole image:
 *
 *   a strong ETag      the server's own word for "the same bytes"; asked for with If-Match, too
 *   Last-Modified      to the second; asked for with If-Unmodified-Since, too
 *   neither            then the length alone guards it, and a change that keeps the length is not seen
 *
 * A weak ETag (W/"…") says that two images serve the same purpose, not that they are the same: it does not count.
 */
export type ImageGuard = 'etag' | 'last-modified' | 'length';

export interface ImageIdentity {
  readonly guard: ImageGuard;
  /** What the guard is compared with; empty for `length`. */
  readonly value: string;
  /** Bytes of the whole image. */
  readonly length: number;
}

interface Headers {
  get(name: string): string | null;
}

export function identityOf(headers: Headers, length: number): ImageIdentity {
  const etag = headers.get('etag');
  if (etag?.startsWith('"')) return { guard: 'etag', value: etag, length };
  const lastModified = headers.get('last-modified');
  return lastModified === null
    ? { guard: 'length', value: '', length }
    : { guard: 'last-modified', value: lastModified, length };
}

/** Headers that have the server refuse (412) to answer with another image. Not every server knows them. */
export function conditionsFor({ guard, value }: ImageIdentity): Record<string, string> {
  if (guard === 'etag') return { 'If-Match': value };
  return guard === 'last-modified' ? { 'If-Unmodified-Since': value } : {};
}

/** What is different in a response from what it was when the image was opened, in words; undefined when nothing is. */
export function differenceFrom(identity: ImageIdentity, headers: Headers, length: number): string | undefined {
  if (length !== identity.length) return `it had ${identity.length} bytes, and has ${length} now`;
  if (identity.guard === 'length') return undefined;
  const now = headers.get(identity.guard);
  const name = identity.guard === 'etag' ? 'ETag' : 'Last-Modified';
  if (now === identity.value) return undefined;
  return `its ${name} was ${identity.value}, and ${now === null ? 'is missing' : `is ${now}`} now`;
}
