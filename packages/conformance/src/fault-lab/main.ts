/**
 * The lab as a command, on all processors. What the tests run a part of, this runs for as long as one likes.
 *
 * Not part of any package that is published; users of `@pdata/testing` call its functions.
 */
import { parseArgs } from 'node:util';
import { crashesInWorkers } from './crashes-in-workers.js';
import { fuzzInWorkers } from './fuzz-in-workers.js';
import { SUBJECTS } from './subjects.js';

const USAGE = `usage: npm run faultlab -- COMMAND [OPTIONS]

  crashes          every crash state of workload after workload, recovered and judged
  replay TOKEN     one crash again, as a report printed it
  fuzz             every reader on images whose fields were changed under right checksums

  --subject NAME   only this one: ${SUBJECTS.map(({ name }) => name).join(', ')}
  --states N       crash states in all, spread over the subjects (default 200000)
  --images N       images to fuzz (default 5000)
  --long           10 million states, 100 000 images
  --seed N         the first workload (default 1)
  --workers N      how many at once (default: one a processor)

Ctrl-C ends an exploration with what is under way, and tells what it has come to; a second one ends it at once.
`;

class UsageError extends Error {}

async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      subject: { type: 'string' },
      states: { type: 'string' },
      images: { type: 'string' },
      seed: { type: 'string', default: '1' },
      workers: { type: 'string' },
      long: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const [command = 'crashes', operand, ...more] = positionals;
  if (more.length > 0) throw new UsageError(`one operand at most, not ${positionals.length - 1}`);
  const subjects = SUBJECTS.filter(({ name }) => values.subject === undefined || name === values.subject);
  if (subjects.length === 0) throw new UsageError(`there is no subject "${values.subject}"`);
  switch (command) {
    case 'crashes':
      return crashesInWorkers({
        subjects: subjects.map(({ name }) => name),
        states: wholeNumber('--states', values.states) ?? (values.long ? 10_000_000 : 200_000),
        seed: wholeNumber('--seed', values.seed) ?? 1,
        workers: wholeNumber('--workers', values.workers),
        signal: interrupt(),
      });
    case 'fuzz':
      return fuzzInWorkers({
        images: wholeNumber('--images', values.images) ?? (values.long ? 100_000 : 5000),
        seed: wholeNumber('--seed', values.seed) ?? 1,
        workers: wholeNumber('--workers', values.workers),
        signal: interrupt(),
      });
    case 'replay':
      return replay(operand);
    default:
      throw new UsageError(`there is no command "${command}"`);
  }
}

async function replay(token: string | undefined): Promise<number> {
  if (token === undefined) throw new UsageError('replay needs the token that a report printed');
  const subject = SUBJECTS.find(({ name }) => token.startsWith(`${name}/`));
  if (subject === undefined) throw new UsageError(`"${token}" names no subject of this lab`);
  const violation = await subject.replay(token);
  if (violation === undefined) {
    console.log(`${token}: right, this crash is survived now`);
    return 0;
  }
  console.log(violation.message);
  if (violation.cause instanceof Error) console.log(violation.cause.stack);
  return 1;
}

/** Aborted when the user asks to stop, once. */
function interrupt(): AbortSignal {
  const interruption = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => interruption.abort());
  return interruption.signal;
}

function wholeNumber(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const number = Number(text.replaceAll('_', ''));
  if (!Number.isSafeInteger(number) || number < 0) throw new UsageError(`${option} is a whole number, not "${text}"`);
  return number;
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    const isUsage = error instanceof UsageError || (error instanceof TypeError && 'code' in error);
    console.error(isUsage ? `${(error as Error).message}\n\n${USAGE}` : error);
    process.exitCode = isUsage ? 2 : 1;
  },
);
