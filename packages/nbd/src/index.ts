/**
 * A Network Block Device server for any data device, and a client that is one.
 * @packageDocumentation
 */
export {};
