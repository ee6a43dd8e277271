/** A log of which a test replaces some methods, to note calls or to take out a rule; everything else is the log's own. */
import type { DirtyLog } from '../src/log/dirty-log.js';

export function alteredLog(log: DirtyLog, changes: Partial<DirtyLog>): DirtyLog {
  return new Proxy(log, {
    get(target, name) {
      if (name in changes) return Reflect.get(changes, name);
      const member: unknown = Reflect.get(target, name);
      return typeof member === 'function' ? member.bind(target) : member; // private fields know the log itself only
    },
  });
}
