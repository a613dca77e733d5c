/**
 * What stands beside a message to restore what JSON cannot say: a tree that follows the data and has a note only where
 * there is something to restore.
 *
 * - a {@link Tag}: the value at this place is of this type
 * - an object: notes to the properties, or the items, of the plain object or array at this place
 * - an array `[tag, notes, id, names]`: both, where `''` is the tag of a plain object or array; an `id`, counted from 1,
 *   where other places refer to this one; `names` where properties are called otherwise than in the data
 * - a number: here is once more the very object that has this `id`; what stands in the data is for other readers
 */
export type Note = Tag | number | NotesByKey | readonly [Tag, NotesByKey?, number?, Readonly<Record<string, string>>?];

/** Notes to the parts of a value: by property, by index, in a Map by index and 0 for the key or 1 for the value. */
export interface NotesByKey {
  readonly [key: string]: Note;
}

/** The name of a type of JavaScript, or `@` and the wire name of a class. */
export type Tag = string;

/** Stands before the wire name of a class, so that a class may be called Map. */
export const CLASS_MARK = '@';

/** A note as it may have arrived: its form is checked, what stands in it is not. */
export interface ReadNote {
  readonly tag: string;
  readonly parts: Readonly<Record<string, unknown>> | undefined;
  readonly id: number | undefined;
  readonly names: Readonly<Record<string, unknown>> | undefined;
}

/** A note while the message is still being read: whether another place refers to it turns out later. */
export class NoteDraft {
  tag: Tag = '';
  id = 0;
  names: Record<string, string> | undefined;
  private readonly keys: (string | number)[] = [];
  private readonly parts: (NoteDraft | Note)[] = [];

  addPart(key: string | number, note: NoteDraft | Note): void {
    this.keys.push(key);
    this.parts.push(note);
  }

  rename(nameInData: string, property: string): void {
    (this.names ??= {})[nameInData] = property;
  }

  /** @returns `undefined` if nothing needs restoring */
  finish(): Note | undefined {
    const parts = this.finishParts();
    if (this.names !== undefined) return [this.tag, parts ?? {}, this.id, this.names];
    if (this.id !== 0) return [this.tag, parts ?? {}, this.id];
    if (this.tag === '') return parts;
    return parts === undefined ? this.tag : [this.tag, parts];
  }

  private finishParts(): NotesByKey | undefined {
    let notes: Record<string, Note> | undefined;
    for (let index = 0; index < this.parts.length; index++) {
      const part = this.parts[index]!;
      const note = part instanceof NoteDraft ? part.finish() : part;
      if (note !== undefined) (notes ??= {})[this.keys[index]!] = note;
    }
    return notes;
  }
}
