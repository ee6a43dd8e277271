/**
 * The lab as a command, on all processors. What the tests run a part of, this runs for as long as one likes.
 *
 * Not part of any package that is published; users of `@pdata/testing` call its functions.
 */
import { parseArgs } from 'node:util';
import { crashesInWorkers } from './crashes-in-workers.js';
import { fuzzInWorkers } from './fuzz-in-workers.js';
import { SUBJECTS } from './subjects.js';

/** Each has memory of its own, some hundred MiB. */
const MOST_WORKERS = 64;

const USAGE = `usage: npm run faultlab -- COMMAND [OPTIONS]

  crashes          every crash state of workload after workload, recovered and judged
  replay TOKEN     one crash again, as a report printed it
  fuzz             every reader on images whose fields were changed under right checksums

  --subject NAME   crashes: only of this one: ${SUBJECTS.map(({ name }) => name).join(', ')}
  --states N       crashes: states in all, spread over the subjects (default 200000)
  --images N       fuzz: images in all, spread over the formats (default 5000)
  --long           10 million states, 100 000 images
  --seed N         the first workload or image (default 1)
  --workers N      how many at once (default: one a processor; at most ${MOST_WORKERS})

Ctrl-C ends an exploration with what is under way, and tells what it has come to; a second one ends it at once.
`;

const EXPLORING = ['seed', 'workers', 'long'];
const COMMANDS: Readonly<Record<string, { readonly options: readonly string[]; readonly nrOperands: number }>> = {
  crashes: { options: [...EXPLORING, 'subject', 'states'], nrOperands: 0 },
  fuzz: { options: [...EXPLORING, 'images'], nrOperands: 0 },
  replay: { options: [], nrOperands: 1 },
};

class UsageError extends Error {}

async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      subject: { type: 'string' },
      states: { type: 'string' },
      images: { type: 'string' },
      seed: { type: 'string' },
      workers: { type: 'string' },
      long: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const [command, ...operands] = positionals;
  if (command === undefined) throw new UsageError('a command is missing');
  const allowed = COMMANDS[command];
  if (allowed === undefined) throw new UsageError(`there is no command "${command}"`);
  const foreign = Object.keys(values).find((option) => option !== 'help' && !allowed.options.includes(option));
  if (foreign !== undefined) throw new UsageError(`--${foreign} is no option of ${command}`);
  if (operands.length !== allowed.nrOperands)
    throw new UsageError(
      `${command} takes ${allowed.nrOperands === 0 ? 'no operand' : 'the token that a report printed'}`,
    );
  const subjects = SUBJECTS.filter(({ name }) => values.subject === undefined || name === values.subject);
  if (subjects.length === 0) throw new UsageError(`there is no subject "${values.subject}"`);
  switch (command) {
    case 'crashes':
      return crashesInWorkers({
        subjects: subjects.map(({ name }) => name),
        states: wholeNumber('--states', values.states, 1) ?? (values.long ? 10_000_000 : 200_000),
        seed: wholeNumber('--seed', values.seed, 0) ?? 1,
        workers: wholeNumber('--workers', values.workers, 1, MOST_WORKERS),
        signal: interrupt(),
      });
    case 'fuzz':
      return fuzzInWorkers({
        images: wholeNumber('--images', values.images, 1) ?? (values.long ? 100_000 : 5000),
        seed: wholeNumber('--seed', values.seed, 0) ?? 1,
        workers: wholeNumber('--workers', values.workers, 1, MOST_WORKERS),
        signal: interrupt(),
      });
    default:
      return replay(operands[0] as string);
  }
}

async function replay(token: string): Promise<number> {
  const subject = SUBJECTS.find(({ name }) => token.startsWith(`${name}/`));
  if (subject === undefined) throw new UsageError(`"${token}" names no subject of this lab`);
  const violation = await subject.replay(token).catch((error: unknown) => {
    throw error instanceof RangeError ? new UsageError(error.message) : error;
  });
  if (violation === undefined) {
    const [name, seed] = token.split('/');
    console.log(`${token}: this crash is survived now. Whether the workload is, and is still the same:`);
    console.log(`  npm run faultlab -- crashes --subject ${name} --seed ${seed} --states 1`);
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

function wholeNumber(
  option: string,
  text: string | undefined,
  least: number,
  most = Number.MAX_SAFE_INTEGER,
): number | undefined {
  if (text === undefined) return undefined;
  const number = Number(text.replaceAll('_', ''));
  if (!Number.isSafeInteger(number) || number < least || number > most)
    throw new UsageError(
      `${option} takes a whole number from ${least} ${most === Number.MAX_SAFE_INTEGER ? 'on' : `to ${most}`}, not "${text}"`,
    );
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
