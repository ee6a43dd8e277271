/**
 * The body of a request: one JSON object of at most {@link MAX_BODY_SIZE} bytes, said to be JSON. A form of another site can send
 * text or url-encoded bodies without asking; it cannot send this type, so the type is required to the letter.
 *
 * Not here: who sends it (guard.ts), which members it has (actions.ts), how slowly it may arrive (the server's timeouts).
 */
import type { IncomingMessage } from 'node:http';
import { Refusal } from './refusal.js';

/** Bytes. The longest sensible body has two names in it. */
export const MAX_BODY_SIZE = 16 * 1024;

/** @throws {@link Refusal} 413, 415 or 400 */
export async function readJsonObject(request: IncomingMessage): Promise<Readonly<Record<string, unknown>>> {
  const { 'content-type': type = '', 'content-length': length, 'content-encoding': encoding } = request.headers;
  if (!/^application\/json(?:; ?charset=utf-8)?$/i.test(type) || encoding !== undefined) {
    throw new Refusal(415, 'ERR_NOT_JSON', 'the body must be sent as application/json, not encoded further');
  }
  if (length !== undefined && Number(length) > MAX_BODY_SIZE) throw tooLarge();

  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > MAX_BODY_SIZE) throw tooLarge();
    parts.push(part);
  }
  const value = parse(Buffer.concat(parts));
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed();
  return value as Record<string, unknown>;
}

/** A GET has no body here; one that says it has is not read. @throws {@link Refusal} 400 */
export function checkNoBody({ headers }: IncomingMessage): void {
  if ((headers['content-length'] ?? '0') === '0' && headers['transfer-encoding'] === undefined) return;
  throw new Refusal(400, 'ERR_UNEXPECTED_BODY', 'this request must not have a body');
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw malformed();
  }
}

const malformed = (): Refusal => new Refusal(400, 'ERR_NOT_JSON', 'the body is not one JSON object in UTF-8');
const tooLarge = (): Refusal =>
  new Refusal(413, 'ERR_BODY_TOO_LARGE', `the body is larger than ${MAX_BODY_SIZE} bytes`, { Connection: 'close' });
