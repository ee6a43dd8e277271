/**
 * What the codes of failed connections mean, in words: Node's errors of sockets have none, or a programmer's, and what `fetch` throws has
 * such an error for its cause. Needs no Node: in a browser nothing has these codes.
 */
export const NETWORK_WORDS: Readonly<Record<string, string>> = {
  EADDRNOTAVAIL: 'this machine has no such address',
  EAI_AGAIN: 'the name of the host could not be looked up',
  ECONNREFUSED: 'nobody listens there',
  ECONNRESET: 'the other side broke the connection',
  EHOSTUNREACH: 'the host cannot be reached',
  ENETUNREACH: 'the network cannot be reached',
  ENOTFOUND: 'no such host',
  EPIPE: 'the other side has closed the connection',
  ETIMEDOUT: 'the host does not answer',
};
