/** The address of a heading within its page, as code hosts write it. */
export function anchorOf(heading) {
  const words = heading.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '');
  return words.replaceAll(' ', '-');
}
