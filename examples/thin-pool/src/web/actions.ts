/**
 * What the page's buttons do. A request names exactly the members of its action, each of its type; anything else is refused before
 * the pool hears of it. Whether a name or a size makes sense is the pool's to say: its sentence reaches the person as it is.
 */
import type { PageHost } from './page-host.js';
import type { Actions } from './page-protocol.js';
import { Refusal } from './refusal.js';

/** Characters. Longer than any name the pool takes; what is longer need not reach it. */
const MAX_NAME_LENGTH = 1024;

type MemberType = 'text' | 'bytes' | 'boolean';
type Members<Request> = { readonly [Member in keyof Request]: MemberType };
interface Action<Request> {
  readonly members: Members<Request>;
  run(host: PageHost, request: Request): Promise<unknown>;
}

const ACTIONS: { readonly [Name in keyof Actions]: Action<Actions[Name]> } = {
  create: {
    members: { name: 'text', size: 'bytes' },
    run: (host, request) => host.createVolume(request),
  },
  snapshot: {
    members: { origin: 'text', name: 'text', writable: 'boolean' },
    run: (host, request) => host.snapshot(request),
  },
  rename: {
    members: { name: 'text', to: 'text' },
    run: (host, request) => host.renameVolume(request),
  },
  resize: {
    members: { name: 'text', size: 'bytes', shrink: 'boolean' },
    run: (host, request) => host.resizeVolume(request),
  },
  revert: {
    members: { name: 'text', snapshot: 'text' },
    run: (host, request) => host.revertVolume(request),
  },
  remove: {
    members: { name: 'text' },
    run: (host, request) => host.removeVolume(request),
  },
  grow: {
    members: { size: 'bytes' },
    run: (host, request) => host.growPool(request),
  },
};

export const actionNames = Object.keys(ACTIONS) as (keyof Actions)[];

/**
 * @throws {@link Refusal} (400) for a request of another shape
 * @throws what the pool throws
 */
export async function runAction(
  host: PageHost,
  name: keyof Actions,
  request: Readonly<Record<string, unknown>>,
): Promise<void> {
  const action = ACTIONS[name] as Action<Record<string, unknown>>;
  const members = Object.entries(action.members);
  for (const [member, type] of members) {
    const value = Object.hasOwn(request, member) ? request[member] : undefined;
    if (!isOf(type, value)) throw malformed(`"${member}" must be ${MEANING[type]}`);
  }
  const stranger = Object.keys(request).find((member) => !Object.hasOwn(action.members, member));
  if (stranger !== undefined) throw malformed('it has a member that is not known');
  await action.run(host, Object.fromEntries(members.map(([member]) => [member, request[member]])));
}

const MEANING: Record<MemberType, string> = {
  text: `text of 1 to ${MAX_NAME_LENGTH} characters`,
  bytes: 'a whole number of bytes above 0',
  boolean: 'true or false',
};

function isOf(type: MemberType, value: unknown): boolean {
  if (type === 'boolean') return typeof value === 'boolean';
  if (type === 'bytes') return Number.isSafeInteger(value) && (value as number) > 0;
  return typeof value === 'string' && value.length > 0 && value.length <= MAX_NAME_LENGTH;
}

const malformed = (what: string): Refusal =>
  new Refusal(400, 'ERR_BAD_REQUEST', `the request is not understood: ${what}`);
