/** What the map says while punches and writes are in flight at once. The punches themselves: file-data-device.test.ts. */
import { beforeEach, expect, it, vi } from 'vitest';
import { HoleMap, UNIT_SIZE } from './hole-map.js';
import { HolePunch } from './hole-punch.js';

const { trims } = vi.hoisted(() => ({ trims: [] as { resolve: () => void; reject: (error: Error) => void }[] }));
vi.mock('./native-extensions.js', () => ({
  loadNativeExtensions: () => ({
    trim: () => new Promise<void>((resolve, reject) => trims.push({ resolve, reject })),
  }),
}));

let holes: HoleMap;
let punch: HolePunch;
const range = (first: number, end: number): [number, number] => [first * UNIT_SIZE, end * UNIT_SIZE];
const map = (): string => Array.from({ length: 8 }, (_, unit) => (holes.isHole(unit) ? 'h' : 'd')).join('');
beforeEach(() => {
  trims.length = 0;
  holes = new HoleMap(8, 'data');
  punch = new HolePunch(3, holes);
});

it('calls units holes when the punch is over, not before', async () => {
  const punching = punch.punch(...range(2, 5));
  expect(map()).toBe('dddddddd');
  trims[0]?.resolve();
  expect(await punching).toBe(true);
  expect(map()).toBe('ddhhhddd');
});

it('does not punch what is a hole', async () => {
  holes.set(2, 5, 'hole');
  expect(await punch.punch(...range(2, 5))).toBe(true);
  expect(trims).toHaveLength(0);
});

it('calls units data that were written to while they were punched', async () => {
  const punchings = [punch.punch(...range(0, 3)), punch.punch(...range(4, 6))];
  punch.aboutToWrite(2 * UNIT_SIZE + 512, 512);
  for (const { resolve } of trims) resolve();
  expect(await Promise.all(punchings)).toEqual([true, true]);
  expect(map()).toBe('ddddhhdd');
});

it('calls units data to which a write was in flight when the punch began, though it is over by now', async () => {
  const done = punch.beginWrite(3 * UNIT_SIZE, UNIT_SIZE);
  const punchings = [punch.punch(...range(0, 4)), punch.punch(...range(4, 8))];
  done();
  for (const { resolve } of trims) resolve();
  await Promise.all(punchings);
  expect(map()).toBe('ddddhhhh');
  const again = punch.punch(...range(0, 4));
  trims[2]?.resolve();
  await again;
  expect(map()).toBe('hhhhhhhh');
});

it.each(['EOPNOTSUPP', 'ENOSYS', 'EINVAL', 'MODULE_NOT_FOUND'])(
  'tries no more where there are no holes: %s',
  async (code) => {
    const punching = punch.punch(...range(0, 4));
    trims[0]?.reject(Object.assign(new Error(code), { code }));
    expect(await punching).toBe(false);
    expect([punch.isSupported, map()]).toEqual([false, 'dddddddd']);
    expect(await punch.punch(...range(0, 4))).toBe(false);
    expect(trims).toHaveLength(1);
  },
);

it('throws what else the system refuses', async () => {
  const punching = punch.punch(...range(0, 4));
  trims[0]?.reject(Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }));
  await expect(punching).rejects.toThrow('EIO');
  expect([punch.isSupported, map()]).toEqual([true, 'dddddddd']);
});
