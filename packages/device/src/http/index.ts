/**
 * An image behind a URL as a data device, for reading. Runs in browsers.
 * @packageDocumentation
 */
export type { Timers } from '../engine/timers.js';
export { ImageChangedError } from './errors.js';
export { type HttpDataDevice, type OpenHttpDataDeviceOptions, openHttpDataDevice } from './http-data-device.js';
export type { HttpBodyReader, HttpFetch, HttpResponse } from './http-fetch.js';
export type { ImageGuard } from './image-identity.js';
