/**
 * Metadata devices in an LMDB environment, and the catalogue of names that commits with them.
 * @packageDocumentation
 */
export {};
