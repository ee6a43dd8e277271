/** The contract of a coordination store, on the one in memory: with messages that arrive, and with messages as they are in life. */
import { ClusterLog, MemoryCoordinationStore, type MessageTransport } from '@pdata/mirror';
import { coordinationStoreConformance, seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';

/** Every third message is lost, every third one arrives twice, and all of them late. */
function unreliable(seed: number): MessageTransport {
  const random = seededRandom(seed);
  return {
    send: (_nodeId, _to, deliver) => {
      for (let nr = Math.floor(random() * 3); nr > 0; nr--) afterTurns(1 + Math.floor(random() * 8), deliver);
    },
    whenUnanswered: (_nodeId, sendAgain) => {
      let isAnswered = false;
      const again = (): void => {
        if (isAnswered) return;
        sendAgain();
        afterTurns(12, again);
      };
      afterTurns(12, again);
      return () => {
        isAnswered = true;
      };
    },
  };
}

function afterTurns(nrTurns: number, action: () => void): void {
  if (nrTurns === 0) action();
  else setImmediate(() => afterTurns(nrTurns - 1, action));
}

const storeOf = (store: unknown): MemoryCoordinationStore => {
  if (!(store instanceof MemoryCoordinationStore)) throw new Error('a store of another kind');
  return store;
};

describe.each([
  { messages: 'that arrive', transport: undefined },
  { messages: 'that are late, lost, doubled and out of order (seed 7)', transport: unreliable(7) },
])('a coordination store in memory, with messages $messages', ({ transport }) => {
  const options = transport === undefined ? {} : { transport };
  const cases = coordinationStoreConformance({
    create: async (nrRegions) => new MemoryCoordinationStore({ nrRegions, ...options }),
    fail: async (store, nodeId) => storeOf(store).fail(nodeId),
    restart: async (store) => {
      const { cleanBits } = storeOf(store).state;
      return new MemoryCoordinationStore({ nrRegions: store.nrRegions, cleanBits, ...options });
    },
    nrRandomWorkloads: transport === undefined ? 100 : 8,
  });
  for (const { name, run } of cases) it(name, run);
});

describe('the suite', () => {
  const suiteOn = (create: (nrRegions: number) => MemoryCoordinationStore) =>
    coordinationStoreConformance({
      create: async (nrRegions) => create(nrRegions),
      fail: async (store, nodeId) => storeOf(store).fail(nodeId),
      restart: async (store) =>
        new MemoryCoordinationStore({ nrRegions: store.nrRegions, cleanBits: storeOf(store).state.cleanBits }),
    });
  async function failing(create: (nrRegions: number) => MemoryCoordinationStore): Promise<string[]> {
    const failed: string[] = [];
    for (const { name, run } of suiteOn(create)) {
      await run().catch((error: Error) => {
        expect(error.name).toBe('ContractViolation');
        failed.push(name.replace(/:.*/, ''));
      });
    }
    return [...new Set(failed)];
  }

  it('finds a store that hands out what another node has a mark on', async () => {
    const found = await failing((nrRegions) => {
      const store = new MemoryCoordinationStore({ nrRegions });
      const { state } = store;
      const mark = state.mark.bind(state);
      state.mark = (nodeId, regionNr, onlyInSync) => {
        const outcome = mark(nodeId, regionNr, onlyInSync);
        if (outcome === 'not in sync') state.clear(nodeId, regionNr); // forgotten
        return outcome;
      };
      return store;
    });
    expect(found).toContain('guarantee 2');
    expect(found).toContain('guarantee 4');
  });

  it('finds a store that forgets that a node has failed', async () => {
    const found = await failing((nrRegions) => {
      const store = new MemoryCoordinationStore({ nrRegions });
      store.fail = () => undefined;
      return store;
    });
    expect(found).toContain('guarantee 7');
  });
});

it('a log refuses a store for another number of regions', () => {
  const store = new MemoryCoordinationStore({ nrRegions: 4, name: 'cluster of two' });
  expect(() => new ClusterLog(store, { nodeId: 'a', length: 10, regionSize: 2 })).toThrow(
    'cluster of two coordinates 4 regions, but 10 sectors in regions of 2 make 5',
  );
});
