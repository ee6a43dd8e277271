/** The two kinds of space map behind the face that their contract knows, over the smallest target. */
import type { DataSpaceMap, SpaceMap } from '@pdata/persistent-data';
import { SparseMetadataDevice } from '@pdata/testing';
import { type AuditRoot, audit, auditIndexBlock } from './audit.js';
import { SmallTarget } from './small-target.js';
import type { Counts, SpaceMapUnderTest } from './space-map-contract.js';

const CACHE = { cacheBlocks: 32 };

export class MetadataMapUnderTest implements SpaceMapUnderTest {
  readonly device: SparseMetadataDevice;
  readonly target: SmallTarget;

  constructor(nrBlocks: number) {
    this.device = new SparseMetadataDevice(nrBlocks);
    this.target = SmallTarget.format(this.device, CACHE);
  }

  get map(): SpaceMap {
    return this.target.tm.spaceMap;
  }

  commit(): void {
    this.target.commit();
  }

  abort(): void {
    this.target.abort();
  }

  extend(nr: number): void {
    this.device.grow(this.device.nrBlocks + nr);
    this.target.tm.deviceGrew();
    this.map.extend(nr);
  }

  audit(ours: Counts): void {
    auditMetadata(this.target, ours);
    this.auditAfterCrash(ours);
  }

  auditAfterCrash(ours: Counts): void {
    auditMetadata(SmallTarget.open(this.device.copy()), ours);
  }
}

function auditMetadata(target: SmallTarget, ours: Counts): void {
  const root: AuditRoot = (auditor) => {
    for (const [nr, count] of ours) for (let i = 0; i < count; i++) auditor.block(nr);
  };
  audit(target.tm, [root]);
  auditIndexBlock(target.tm);
}

export class DataMapUnderTest implements SpaceMapUnderTest {
  readonly device = new SparseMetadataDevice(2000);
  readonly target: SmallTarget;

  constructor(nrBlocks: number) {
    this.target = SmallTarget.format(this.device, { ...CACHE, dataBlocks: nrBlocks });
  }

  get map(): DataSpaceMap {
    return this.target.data as DataSpaceMap;
  }

  commit(): void {
    this.target.commit();
  }

  abort(): void {
    this.target.abort();
  }

  extend(nr: number): void {
    this.map.extend(nr);
  }

  audit(ours: Counts): void {
    auditData(this.target, ours);
    this.auditAfterCrash(ours);
  }

  auditAfterCrash(ours: Counts): void {
    auditData(SmallTarget.open(this.device.copy()), ours);
  }
}

function auditData(target: SmallTarget, ours: Counts): void {
  const root: AuditRoot = (auditor) => {
    for (const [nr, count] of ours) for (let i = 0; i < count; i++) auditor.dataBlock(nr);
  };
  audit(target.tm, [root], (target.data as DataSpaceMap).root);
}
