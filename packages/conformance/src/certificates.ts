/** A certificate authority and certificates for "localhost", made by openssl in the layout that NBD programs expect. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runProgram } from './real-tools.js';

/**
 * Fills `directory`, which it makes, with ca-cert.pem, server-cert.pem, server-key.pem, client-cert.pem and client-key.pem,
 * good for two days.
 * @returns `directory`
 */
export function makeCertificates(directory: string): string {
  mkdirSync(directory);
  const at = (name: string): string => join(directory, name);
  const openssl = (...args: string[]): void => {
    const { status, stderr } = runProgram('openssl', args);
    if (status !== 0) throw new Error(`openssl ${args.join(' ')}: ${stderr}`);
  };
  const newKey = (role: string): string[] => {
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    return [...kind, '-keyout', at(`${role}-key.pem`)];
  };
  const days = ['-days', '2'];
  openssl('req', '-x509', ...newKey('ca'), '-out', at('ca-cert.pem'), ...days, '-subj', '/CN=a test authority');
  writeFileSync(at('names'), 'subjectAltName=DNS:localhost');
  for (const role of ['server', 'client']) {
    openssl('req', ...newKey(role), '-out', at(`${role}.csr`), '-subj', '/CN=localhost');
    const authority = ['-CA', at('ca-cert.pem'), '-CAkey', at('ca-key.pem'), '-CAcreateserial'];
    const certificate = ['-out', at(`${role}-cert.pem`), '-extfile', at('names'), ...days];
    openssl('x509', '-req', '-in', at(`${role}.csr`), ...authority, ...certificate);
  }
  return directory;
}
