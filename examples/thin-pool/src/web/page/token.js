/**
 * The key to the page. It comes behind the `#` of the printed address, which browsers send to nobody; from there it moves into this
 * tab's session storage (so that a reload finds it) and leaves the address bar and the history.
 */

const KEY = 'thin-pool token';

/** Whether the address holds a token. A `#` also leads to parts of the page. */
export const bringsToken = () => /^#[\w-]{22,}$/.test(location.hash);

/** The token of this tab; `undefined` when the page was opened without one. */
export function takeToken() {
  if (bringsToken()) {
    sessionStorage.setItem(KEY, location.hash.slice(1));
    history.replaceState(null, '', location.pathname);
  }
  return sessionStorage.getItem(KEY) ?? undefined;
}

/** It was refused: another run of the program has another one. */
export function forgetToken() {
  sessionStorage.removeItem(KEY);
}
