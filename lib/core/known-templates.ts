import { isTemplate, matchTemplate } from '../protocol/channel-name.js';
import { declaredChannelNames } from '../protocol/declared-channels.js';
import { Templates } from './templates.js';

/** A template that a name is of. */
export interface TemplateMatch {
  readonly name: string;
  readonly params: Readonly<Record<string, string>>;
}

/** The templates that this process has declared, however late, and those that were added. */
export class KnownTemplates {
  private readonly templates = new Templates<{ readonly name: string }>();
  private seen = 0;

  add(name: string): void {
    if (isTemplate(name) && this.templates.get(name) === undefined) this.templates.add({ name });
  }

  /** The template that says most of a name literally; several where they are equally literal. */
  mostLiteral(name: string): TemplateMatch[] {
    const declared = declaredChannelNames();
    while (this.seen < declared.length) this.add(declared[this.seen++]!);
    const segments = name.split('/');
    return this.templates.mostLiteral(name).map((template) => ({
      name: template.name,
      params: matchTemplate(template.name.split('/'), segments)!,
    }));
  }
}
