/** The collections of a store, those of its schema and those of earlier ones, each with what its kind can do. */

import { CorruptBlockError } from '@pdata/device';
import type { DataSpaceMap } from '../space-map/data-space-map.js';
import { type CollectionKind, collectionKind } from './collection-kinds.js';
import type { Directory, DirectoryEntry } from './directory.js';
import type { UnitMaps } from './unit-references.js';

export interface Definition extends DirectoryEntry {
  /** Undefined for a space map, which belongs to the store and not to a state. */
  readonly kind: CollectionKind | undefined;
}

export class Definitions {
  readonly byId: ReadonlyMap<number, Definition>;
  /** Those of the schema, in the order of their ids. */
  readonly current: readonly Definition[];
  /** The space maps, by the ids of their collections. */
  readonly maps: ReadonlyMap<number, DataSpaceMap>;

  /**
   * @throws {@link CorruptBlockError} for a directory that this version cannot make sense of
   */
  constructor(directory: Directory, maps: ReadonlyMap<number, DataSpaceMap>) {
    const definitions = directory.collections.map((entry): Definition => {
      try {
        const unitMaps = unitMapsOf(entry, directory.collections, maps);
        return { ...entry, kind: entry.shape.kind === 'spaceMap' ? undefined : collectionKind(entry.shape, unitMaps) };
      } catch (error) {
        throw new CorruptBlockError({
          structure: 'store directory',
          blockNr: 0,
          field: `collection ${entry.name}`,
          found: (error as Error).message,
          expected: 'a shape that this version knows',
        });
      }
    });
    this.byId = new Map(definitions.map((definition) => [definition.id, definition]));
    this.maps = maps;
    this.current = definitions.filter(({ until }) => until === undefined);
  }
}

/** A unit's map is the one that was there when the collection was declared. */
function unitMapsOf(
  { name: of, since }: DirectoryEntry,
  entries: readonly DirectoryEntry[],
  maps: ReadonlyMap<number, DataSpaceMap>,
): UnitMaps {
  return (name) => {
    const entry = entries.find(
      (other) =>
        other.name === name &&
        other.shape.kind === 'spaceMap' &&
        other.since <= since &&
        (other.until ?? Number.POSITIVE_INFINITY) > since,
    );
    const map = entry === undefined ? undefined : maps.get(entry.id);
    if (map === undefined)
      throw new CorruptBlockError({
        structure: 'store directory',
        blockNr: 0,
        field: `collection ${of}`,
        found: `units of ${name}`,
        expected: 'units of a space map that the store has',
      });
    return map;
  };
}
