// What an instruction for a story asks, and whether a story does it: rules alone, no model. The instructions that the embedded
// model is tuned on are made with them (story-instructions.ts), its answers ranked (recipes/tales-instruct/reward.ts) and judged
// (story-judge.ts).

/** What an instruction asks of its story. */
export interface Asked {
  /** Words that have to occur, in the singular or the plural. */
  readonly words: readonly string[];
  /** Forms of a verb, one of which has to occur. */
  readonly verb?: readonly string[];
  /** How the story has to begin. */
  readonly beginning?: string;
  readonly length?: 'short' | 'long';
}

export interface Judged {
  /** From 0 to 1: how much of what was asked is there. */
  readonly mentioned: number;
  /** Whether a row of six words comes twice. */
  readonly repeats: boolean;
  /** The share of all rows of three words that come for the first time. */
  readonly fresh: number;
  /** Whether its last sentence is whole. */
  readonly whole: boolean;
  readonly words: number;
}

/** Things, animals, people and places of children's stories, by which a story is known. */
export const nouns =
  `alligator ant apple axe baby bag ball balloon banana barn basket bath beach bean bear bed bee bell bench bike
bird boat bone book boot bottle bow box branch bread bridge brush bubble bucket bug bunny bus butterfly button cage cake camera candle
candy cap car carrot castle cat cave chair cheese chest chicken clock cloud clown coat coin cookie corn cow crab crayon crib cross crow
crown cup deer dentist desk diamond doctor dog doll dolphin donkey door dragon drawer dream dress drum duck eagle egg elephant fairy
farm farmer feather fence fire fireman fish flag flower fly forest fountain fox frog fruit game garden gate ghost giant giraffe glass
glove goat gold grape grass guitar hammer hat hen hill hole honey horse hospital house ice igloo insect island jacket jar jewel juice
jungle kangaroo kettle key king kite kitten knife knight ladder lake lamb lamp leaf lemon letter library light lion lizard log
magician map market meadow mirror monkey monster moon mountain mouse mud mushroom nail necklace needle nest net nurse oak ocean
octopus onion orange owl package paint painting pan panda paper parade park parrot path peach pear pearl pen pencil penguin phone
piano picnic picture pie pig pillow pilot pirate pizza plane plant plate pocket pond pony pot potato prince princess pumpkin puppy
puzzle queen rabbit radio rain rainbow rat ribbon ring river road robot rock rocket room rope rose sailor salad sand sandwich scarf
school scissors sea seed sheep shell ship shirt shoe shop shovel skirt sled slide snail snake snow soap sock soldier soup spider spoon
squirrel star statue stick stone store storm stove strawberry swan sweater swing sword table tail tank tea teacher tent tiger tower
toy tractor train treasure tree truck trumpet tunnel turtle umbrella van vase violin wagon wall wallet watch water watermelon
waterfall well whale wheel whistle wind window witch wizard wolf wood worm yard zebra zoo`
    .split(/\s+/)
    .filter((word) => word !== '');

/** Verbs by what someone does: present, and the forms that show it. */
export const verbs: Readonly<Record<string, readonly string[]>> = {
  finds: ['found', 'find', 'finds', 'finding'],
  loses: ['lost', 'lose', 'loses', 'losing'],
  helps: ['helped', 'help', 'helps', 'helping'],
  shares: ['shared', 'share', 'shares', 'sharing'],
  makes: ['made', 'make', 'makes', 'making'],
  breaks: ['broke', 'broken', 'break', 'breaks', 'breaking'],
  hides: ['hid', 'hidden', 'hide', 'hides', 'hiding'],
  climbs: ['climbed', 'climb', 'climbs', 'climbing'],
  catches: ['caught', 'catch', 'catches', 'catching'],
  buys: ['bought', 'buy', 'buys', 'buying'],
  builds: ['built', 'build', 'builds', 'building'],
  learns: ['learned', 'learnt', 'learn', 'learns', 'learning'],
  saves: ['saved', 'save', 'saves', 'saving'],
};

/** Whether a text has a word, in the singular or the plural. */
export function hasWord(text: string, word: string): boolean {
  const plural = /[^aeiou]y$/.test(word) ? `${word.slice(0, -1)}ies` : `${word.replace(/f$/, 'v')}e?s`;
  return new RegExp(`\\b(?:${word}|${word}s|${plural})\\b`, 'i').test(text);
}

/** What of the asked a story has. */
export function judge(story: string, { words, verb, beginning }: Asked): Judged {
  const text = story.trim();
  const parts = [
    ...words.map((word) => hasWord(text, word)),
    ...(verb ? [verb.some((form) => new RegExp(`\\b${form}\\b`, 'i').test(text))] : []),
    ...(beginning === undefined ? [] : [essence(text).startsWith(essence(beginning))]),
  ];
  const own = text.toLowerCase().match(/[\p{L}\p{N}']+/gu) ?? [];
  return {
    mentioned: parts.length === 0 ? 1 : parts.filter(Boolean).length / parts.length,
    repeats: freshShare(own, 6) < 1,
    fresh: freshShare(own, 3),
    whole: /[.!?]["'”’)]*$/.test(text),
    words: own.length,
  };
}

function freshShare(words: readonly string[], n: number): number {
  const grams = words.slice(n - 1).map((_, i) => words.slice(i, i + n).join(' '));
  return grams.length === 0 ? 1 : new Set(grams).size / grams.length;
}

/** Letters and digits alone. */
const essence = (text: string): string => text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '');
