/** The judges: images the kernel made, the real tools, the real kernel, and an independent reading of a dump. @packageDocumentation */
export { makeCertificates } from './certificates.js';
export { FIXTURE_NAMES, type Fixture, type FixtureName, fixture, type Golden, goldens } from './fixtures.js';
export { type GuestFindings, type GuestRun, requireKernel, runGuest, runGuests } from './kernel.js';
export { type NbdService, serveExports } from './nbd-service.js';
export {
  type NbdTool,
  outputOf,
  type RealServer,
  requireNbdTools,
  runAside,
  runsLong,
  startNbdkit,
  startQemuNbd,
  startServer,
} from './nbd-tools.js';
export { ourCheckComplaint, runOurTool } from './our-tools.js';
export {
  type DumpedDevice,
  type DumpedMapping,
  type DumpedPool,
  mappingLines,
  readDump,
  volumeSum,
} from './pool-contents.js';
export {
  cacheDirectory,
  judgesAreRequired,
  REAL_VERSIONS,
  type RealVersion,
  type RunResult,
  realCheckComplaint,
  realDump,
  realToolPath,
  requireTools,
  runProgram,
  runRealTool,
  runRealToolAside,
  type ThinTool,
} from './real-tools.js';
export { openScratch, type Scratch } from './scratch.js';
