/**
 * What engines are made of, whatever their target: the order of requests, commits that many share, events, messages.
 * Runs in browsers. `@pdata/thin` and `@pdata/clone` show how it is used.
 * @packageDocumentation
 */
export { allEnded } from './all-ended.js';
export { BlockBuffers } from './block-buffers.js';
export { CommitTimer, type CommitTimerSettings } from './commit-timer.js';
export { AbortedChangesError, inWords, type MessageErrno, TargetMessageError } from './errors.js';
export { Gate } from './gate.js';
export { type Listener, Listeners } from './listeners.js';
export { wholeNumberIn, wordsOf } from './message-words.js';
export { othersTurn } from './others-turn.js';
export { packedRecord } from './packed-record.js';
export { type QueueEntry, RequestQueue } from './request-queue.js';
export { SharedRun } from './shared-run.js';
export { lineOrError } from './status-line.js';
export { LONGEST_TIMER, systemTimers, type Timers } from './timers.js';
