/**
 * A dump as one JSON value, in the same order and with the same contents as the XML:
 *
 *   { "superblock": { "time", "transaction", "needsCheck", "version", "dataBlockSize", "nrDataBlocks" },
 *     "defs":    [ { "name": 46, "mappings": [ … ] }, … ],              what several devices share
 *     "devices": [ { "devId", "mappedBlocks", "transaction", "creationTime", "snapTime", "mappings": [ … ] }, … ] }
 *
 * A mapping is [first virtual block, first data block, length, time]; among a device's mappings, {"ref": 46} stands for all
 * those of the def of that name. One mapping, def head or device head a line. Numbers of 64 bits are strings of digits when
 * they are above 2^53 - 1, where JSON readers begin to round.
 *
 * A dump that ends in an error still is valid JSON: `abandon` closes what is open.
 */

import { Phrase, putNumber } from '@pdata/persistent-data/maintenance';
import { type DumpedDevice, type DumpedSuperblock, DumpWriter } from './dump-writer.js';

const OPEN = new Phrase('\n        [');
const NEXT = new Phrase(',\n        [');
const COMMA = new Phrase(',');
const CLOSE = new Phrase(']');

type Section = 'nothing' | 'defs' | 'devices' | 'end';

export class JsonWriter extends DumpWriter {
  #section: Section = 'nothing';
  #isInMappings = false;
  /** Something stands before in the innermost list that is open. */
  #isFollower = false;

  beginSuperblock(superblock: DumpedSuperblock): void {
    const { time, transactionId, needsCheck, version, dataBlockSize, nrDataBlocks } = superblock;
    this.buffer.text(
      `{\n  "superblock": {"time": ${time}, "transaction": ${json(transactionId)}, "needsCheck": ${needsCheck}, ` +
        `"version": ${version}, "dataBlockSize": ${dataBlockSize}, "nrDataBlocks": ${json(nrDataBlocks)}},\n  "defs": [`,
    );
    this.#section = 'defs';
  }

  endSuperblock(): void {
    this.#beginDevices();
    this.buffer.text(']\n}');
    this.#section = 'end';
  }

  beginShared(name: number): void {
    this.#beginMember(`{"name": ${name}, "mappings": [`);
  }

  endShared(): void {
    this.#endMember();
  }

  beginDevice({ thinId, mappedBlocks, transactionId, creationTime, snapshottedTime }: DumpedDevice): void {
    this.#beginDevices();
    this.#beginMember(
      `{"devId": ${thinId}, "mappedBlocks": ${json(mappedBlocks)}, "transaction": ${json(transactionId)}, ` +
        `"creationTime": ${creationTime}, "snapTime": ${snapshottedTime}, "mappings": [`,
    );
  }

  endDevice(): void {
    this.#endMember();
  }

  ref(name: number): void {
    this.buffer.text(`${this.#isFollower ? ',' : ''}\n        {"ref": ${name}}`);
    this.#isFollower = true;
  }

  override abandon(): boolean {
    if (this.#section === 'nothing' || this.#section === 'end') return false;
    this.endRun();
    if (this.#isInMappings) this.#endMember();
    this.endSuperblock();
    return true;
  }

  protected mapping(origin: number, data: number, length: number, time: number): void {
    const { buffer } = this;
    const { view } = buffer;
    let { at } = buffer;
    at = (this.#isFollower ? NEXT : OPEN).put(view, at);
    at = putNumber(view, at, origin);
    at = putNumber(view, COMMA.put(view, at), data);
    at = putNumber(view, COMMA.put(view, at), length);
    at = putNumber(view, COMMA.put(view, at), time);
    buffer.at = CLOSE.put(view, at);
    this.#isFollower = true;
  }

  #beginDevices(): void {
    if (this.#section === 'devices') return;
    this.buffer.text('],\n  "devices": [');
    this.#section = 'devices';
    this.#isFollower = false;
  }

  #beginMember(head: string): void {
    this.buffer.text(`${this.#isFollower ? ',' : ''}\n    ${head}`);
    this.#isInMappings = true;
    this.#isFollower = false;
  }

  #endMember(): void {
    this.buffer.text(']}');
    this.#isInMappings = false;
    this.#isFollower = true;
  }
}

const json = (number: bigint): string => (number <= BigInt(Number.MAX_SAFE_INTEGER) ? `${number}` : `"${number}"`);
