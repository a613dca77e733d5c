import { isTemplate, paramsOf } from '../protocol/channel-name.js';
import { declaredChannelNames } from '../protocol/declared-channels.js';
import { Templates } from './templates.js';

/** A template that matches a name. */
export interface TemplateMatch {
  readonly name: string;
  readonly params: Readonly<Record<string, string>>;
}

/** The templates that this process declares, at any time, and those that were added. */
export class KnownTemplates {
  private readonly templates = new Templates<{ readonly name: string }>();
  private seen = 0;

  add(name: string): void {
    if (isTemplate(name) && this.templates.get(name) === undefined) this.templates.add({ name });
  }

  /** The most literal template of a name, or several that are equally literal. */
  mostLiteral(name: string): TemplateMatch[] {
    const declared = declaredChannelNames();
    while (this.seen < declared.length) this.add(declared[this.seen++]!);
    const segments = name.split('/');
    return this.templates.mostLiteral(name).map((template) => ({
      name: template.name,
      params: paramsOf(template.name.split('/'), segments),
    }));
  }
}
