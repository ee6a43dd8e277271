/**
 * The connection to the program: frames come as server-sent events over a fetch (an EventSource cannot send the token's header),
 * actions go as JSON. It connects again by itself: after half a second, then each time after twice as long, up to eight seconds, a bit
 * at random, and at once when the tab is looked at again or the network is back. A connection that says nothing for 20 s counts as lost.
 */

/** @typedef {import('../page-protocol.js').LiveFrames} LiveFrames */
/** @typedef {import('../page-protocol.js').Actions} Actions */
/** @typedef {{ [Kind in keyof LiveFrames]: (frame: LiveFrames[Kind]) => void }} FrameListeners */
/** @typedef {{ kind: 'live' } | { kind: 'waiting', why: string, seconds: number } | { kind: 'refused', message: string }} Link */

const SILENCE = 20_000; // ms
const FIRST_WAIT = 500; // ms
const LONGEST_WAIT = 8000; // ms

export class Feed {
  #token;
  #listeners;
  #onLink;
  #wait = FIRST_WAIT;
  /** @type {(() => void) | undefined} */
  #wakeUp;

  /** @param {string} token @param {FrameListeners} listeners @param {(link: Link) => void} onLink */
  constructor(token, listeners, onLink) {
    this.#token = token;
    this.#listeners = listeners;
    this.#onLink = onLink;
    addEventListener('online', () => this.#wakeUp?.());
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') this.#wakeUp?.();
    });
  }

  /** Stays connected until the token is refused. */
  async run() {
    for (;;) {
      let why = 'The program does not answer';
      try {
        why = await this.#listen();
      } catch (error) {
        if (error instanceof RefusedError && error.status === 401) {
          this.#onLink({ kind: 'refused', message: error.message });
          return;
        }
        if (error instanceof RefusedError) why = sentence(error.message);
      }
      const wait = this.#wait * (0.75 + Math.random() / 2);
      this.#wait = Math.min(LONGEST_WAIT, this.#wait * 2);
      this.#onLink({ kind: 'waiting', why, seconds: Math.max(1, Math.round(wait / 1000)) });
      await this.#pause(wait);
    }
  }

  /**
   * Does an action. Rejects with a sentence for people.
   * @template {keyof Actions} Name
   * @param {Name} name @param {Actions[Name]} request
   */
  async act(name, request) {
    let response;
    try {
      response = await fetch(`/api/do/${name}`, {
        method: 'POST',
        headers: { ...this.#headers(), 'Content-Type': 'application/json' },
        body: JSON.stringify(request),
      });
    } catch {
      throw new Error('The program does not answer. Whether it was done will show when it is back.');
    }
    if (!response.ok) throw new Error(sentence((await refusalIn(response)).message));
  }

  /** @param {string} volume @returns {Promise<import('../page-protocol.js').VolumeMap | undefined>} */
  async map(volume) {
    try {
      const response = await fetch(`/api/map?${new URLSearchParams({ volume })}`, { headers: this.#headers() });
      return response.ok ? await response.json() : undefined;
    } catch {
      return undefined; // The connection that brings frames notices as well, and says so.
    }
  }

  #headers() {
    return { Authorization: `Bearer ${this.#token}` };
  }

  /** Resolves with the reason of its end. */
  async #listen() {
    const abort = new AbortController();
    let silence = setTimeout(() => abort.abort(), SILENCE);
    try {
      const response = await fetch('/api/live', { headers: this.#headers(), signal: abort.signal, cache: 'no-store' });
      if (!response.ok || response.body === null) throw await refusalIn(response);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = '';
      let hasEnded = false;
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return hasEnded ? 'The program has ended' : 'The connection was lost';
        clearTimeout(silence);
        silence = setTimeout(() => abort.abort(), SILENCE);
        const frames = (text + value).split('\n\n');
        text = frames.pop() ?? '';
        for (const frame of frames) {
          const kind = this.#deliver(frame);
          hasEnded ||= kind === 'bye';
        }
      }
    } finally {
      clearTimeout(silence);
      abort.abort();
    }
  }

  /** @param {string} frame */
  #deliver(frame) {
    const [, name, data = ''] = /^event: (\w+)\ndata: (.*)$/.exec(frame) ?? [];
    if (name === undefined || !Object.hasOwn(this.#listeners, name)) return undefined;
    const kind = /** @type {keyof LiveFrames} */ (name);
    if (kind === 'hello') {
      this.#wait = FIRST_WAIT;
      this.#onLink({ kind: 'live' });
    }
    /** @type {(frame: unknown) => void} */ (this.#listeners[kind])(JSON.parse(data));
    return kind;
  }

  /** @param {number} ms */
  async #pause(ms) {
    await new Promise((resolve) => {
      const timer = setTimeout(() => resolve(undefined), ms);
      this.#wakeUp = () => {
        clearTimeout(timer);
        resolve(undefined);
      };
    });
    this.#wakeUp = undefined;
  }
}

class RefusedError extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** @param {Response} response */
async function refusalIn(response) {
  try {
    /** @type {import('../page-protocol.js').FailedAnswer} */
    const { error } = await response.json();
    return new RefusedError(response.status, error.message);
  } catch {
    return new RefusedError(response.status, `the program answered with status ${response.status}`);
  }
}

/** @param {string} text */
const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`;
