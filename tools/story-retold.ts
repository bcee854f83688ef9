// A story told again with other things, animals and names in it: "fox" becomes "goat" wherever it stands. The embedded model sees each
// of its few thousand stories many times; retold, what a story is about cannot be known by heart and has to be read off the instruction.
// Words change within a class (animals for animals, tools for tools), so that most sentences stay sensible; not all do.

import type { PythonRandom } from '../src/python-random.js';
import { hasWord } from './story-rules.js';

/** Words of the list in story-rules.ts that may stand for each other. Left out: those that are verbs or adverbs as often (fly, watch, well). */
const classes = [
  `alligator ant bear bee bird bug bunny butterfly cat chicken cow crab crow deer dog dolphin donkey dragon duck eagle elephant fox frog
giraffe goat hen horse insect kangaroo kitten lamb lion lizard monkey mouse octopus owl panda parrot penguin pig pony puppy rabbit rat sheep
snail snake spider squirrel swan tiger turtle whale wolf worm zebra`,
  'apple banana cake carrot cookie lemon mushroom onion pear pie pizza potato pumpkin sandwich strawberry watermelon',
  'bike boat bus car plane rocket ship sled tractor train truck van wagon',
  `ball balloon basket bell book bottle box brush bucket button camera candle clock coin crayon crown cup diamond doll drum feather flag
guitar hammer jar jewel kettle key kite ladder lamp letter map mirror necklace needle net pen pencil picture pillow puzzle radio ribbon ring
robot rope shell shovel spoon statue stick stone sword toy trumpet umbrella vase violin wallet wheel whistle`,
  'coat dress glove hat jacket shirt shoe skirt sock sweater',
  `barn beach bridge castle cave farm forest garden hill house island jungle lake library market meadow mountain park pond river road
school shop store tower zoo`,
  'clown doctor farmer fireman giant king knight magician pirate prince sailor soldier wizard',
  'fairy nurse princess queen witch',
  'bed bench chair desk table',
].map((words) => words.split(/\s+/));

const names = [
  'Lily Lucy Sara Sarah Sue Mia Anna Amy Emma Ella Jane Molly Daisy Bella Sally Kate Nina Zoe Lisa Mary Jenny Clara Alice Polly Ruth Nora',
  'Tim Tom Ben Jack Max Sam Bob Timmy Tommy Billy Joe Mark Danny John Peter Andy Leo Jim Tony Paul Fred Henry Oscar Hugo Simon Ned',
].map((each) => each.split(' '));

const irregular: Readonly<Record<string, string>> = {
  mouse: 'mice',
  sheep: 'sheep',
  deer: 'deer',
  fireman: 'firemen',
  wolf: 'wolves',
};

/** The plural by the rules that the words of the classes need. */
function plural(word: string): string {
  if (irregular[word]) return irregular[word];
  if (/[^aeiou]y$/.test(word)) return `${word.slice(0, -1)}ies`;
  return /(?:[sx]|ch|sh|ato)$/.test(word) ? `${word}es` : `${word}s`;
}

const like = (model: string, word: string): string => (/^[A-Z]/.test(model) ? word[0].toUpperCase() + word.slice(1) : word);

/** `text` with each `from` as `to`, its plurals too, and "a" or "an" before it as it has to be. */
function swapped(text: string, from: string, to: string): string {
  const many = plural(from);
  return text.replace(
    new RegExp(`(\\b[Aa]n? )?\\b(${from}|${many})\\b`, 'gi'),
    (_, article: string | undefined, found: string) => {
      const word = found.toLowerCase() === many && many !== from ? plural(to) : to;
      const before = article && `${article[0]}${/^[aeiou]/.test(word) ? 'n' : ''} `;
      return (before ?? '') + like(found, word);
    },
  );
}

/** A story with up to three of its things and all its names changed by chance, for such as are not in it yet: so two never become one. */
export function retold(text: string, random: PythonRandom): string {
  const found = classes.flatMap((words) => words.filter((word) => hasWord(text, word)).map((word) => ({ word, words })));
  random.shuffle(found);
  let told = text;
  for (const { word, words } of found.slice(0, 3)) {
    const free = words.filter((each) => !hasWord(told, each) && !hasWord(text, each));
    if (free.length > 0) told = swapped(told, word, free[random.below(free.length)]);
  }
  for (const group of names) {
    const present = group.filter((name) => new RegExp(`\\b${name}\\b`).test(text));
    const free = group.filter((name) => !present.includes(name));
    random.shuffle(free);
    for (const [i, name] of present.entries()) told = told.replace(new RegExp(`\\b${name}\\b`, 'g'), free[i] ?? name);
  }
  return told;
}
