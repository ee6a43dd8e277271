/** What all targets' superblocks have in common, and the order in which the kernel looks at it. */
import { CorruptBlockError } from '@pdata/device';
import { type BlockValidator, checkChecksum, sealHomeAndChecksum, u64At } from './block.js';

const AT = { blockNr: 8, magic: 32 } as const;

/**
 * Home number, magic, checksum: the order, and so the finding, of the kernel. Versions and features are for who opens it to judge.
 *
 * @param structure in the words of docs/format: "thin superblock"
 * @param magic the 64-bit number at byte 32
 * @param xor the constant of the checksum
 */
export function superblockValidator(structure: string, magic: number, xor: number): BlockValidator {
  return {
    structure,
    check(block) {
      const refuse = (field: keyof typeof AT, expected: number): never => {
        const exact = block.view.getBigUint64(AT[field], true);
        const found = exact <= Number.MAX_SAFE_INTEGER ? Number(exact) : exact;
        throw new CorruptBlockError({ structure, blockNr: block.nr, field, found, expected });
      };
      if (u64At(block.view, AT.blockNr) !== block.nr) refuse('blockNr', block.nr);
      if (u64At(block.view, AT.magic) !== magic) refuse('magic', magic);
      checkChecksum(block, structure, xor);
    },
    prepare: (block) => sealHomeAndChecksum(block, AT.blockNr, xor),
  };
}
