import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The path of the file of a place in the code, `file:line:column` with a path or a URL. */
export function fileOfPlace(place: string): string {
  const file = place.replace(/:\d+:\d+$/, '');
  return file.startsWith('file:') ? fileURLToPath(file) : resolve(file);
}
