/** Documents with something wrong in them: what a command that reads XML has to refuse, or to take for what it says. */

/** In place of a number, or of any value. */
const VALUES = [
  '0',
  '1',
  '-1',
  '4294967295',
  '4294967296',
  '9007199254740993',
  '18446744073709551615',
  '18446744073709551616',
  '99999999999999999999999999',
  '1e9',
  '0x10',
  ' 7 ',
  '',
  'x',
  '&amp;',
  '&#0;',
  '&lol;',
  '"',
  '<',
];
/** Put in between. */
const INSERTIONS = [
  '<',
  '>',
  '/>',
  '"',
  '&',
  '\0',
  '\ufffe',
  '<!-- ',
  '<![CDATA[',
  '<?xml version="1.0"?>',
  '<!DOCTYPE lolz [<!ENTITY lol "lol">]>',
  '<a>'.repeat(2000),
  ' a="1"'.repeat(2000),
  `<a b="${'c'.repeat(100_000)}"/>`,
];

/** One change of `text`, or up to three, each by chance. */
export function changedText(text: string, random: () => number): string {
  const pick = (below: number): number => Math.floor(random() * below);
  const one = (of: readonly string[]): string => of[pick(of.length)] as string;
  let changed = text;
  for (let nr = random() < 0.6 ? 1 : 2 + pick(2); nr > 0; nr--) {
    const at = pick(changed.length);
    const dice = random();
    if (dice < 0.45) changed = replacedAfter(changed, at, /"[^"]*"/g, `"${one(VALUES)}"`);
    else if (dice < 0.55) changed = replacedAfter(changed, at, /\s[a-z_]+="[^"]*"/g, '');
    else if (dice < 0.65) changed = changed.slice(0, at) + one(INSERTIONS) + changed.slice(at);
    else if (dice < 0.72) changed = changed.slice(0, at);
    else if (dice < 0.86) {
      // A piece of it twice, or not at all, or somewhere else.
      const piece = changed.slice(at, at + 1 + pick(300));
      const to = pick(changed.length);
      if (random() < 0.5) changed = changed.slice(0, at) + changed.slice(at + piece.length);
      if (random() < 0.7) changed = changed.slice(0, to) + piece + changed.slice(to);
    } else changed = replacedAfter(changed, at, /<[^>]*>\s*/g, '');
  }
  return changed;
}

/** The first match behind `at` replaced. */
function replacedAfter(text: string, at: number, what: RegExp, by: string): string {
  what.lastIndex = at;
  const found = what.exec(text);
  return found === null ? text : text.slice(0, found.index) + by + text.slice(found.index + found[0].length);
}
