import { StoreError } from '@pdata/device';

/** Where something in a text is: line and column count from 1, `byte` from 0. The column counts bytes, not characters. */
export interface TextPosition {
  readonly line: number;
  readonly column: number;
  readonly byte: number;
}

/**
 * XML that cannot be restored: malformed, not a dump of this target, or contradicting itself. Each target has one of its own.
 * @example line 3, column 5 (byte 215): <single_mapping> maps virtual block 7, which is not above 9, the last one mapped
 */
export abstract class XmlError extends StoreError implements TextPosition {
  readonly line: number;
  readonly column: number;
  readonly byte: number;
  /** What is wrong, without the position. */
  readonly problem: string;

  constructor(problem: string, { line, column, byte }: TextPosition) {
    super(`line ${line}, column ${column} (byte ${byte}): ${problem}`);
    this.problem = problem;
    this.line = line;
    this.column = column;
    this.byte = byte;
  }
}

export type XmlErrorType = new (problem: string, position: TextPosition) => XmlError;

/** Thrown by whoever takes the contents of the XML when they make no sense; the reader, which knows where it is, adds the position. */
export class ContentProblem extends Error {
  override readonly name = 'ContentProblem';
}
