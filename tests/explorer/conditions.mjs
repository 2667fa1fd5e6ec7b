// Prints, as JSON, the conditions of a list of some mode for each of the chips that it is given.

import { condition } from "../../app/explorer/filters.ts";

const [mode, chips] = process.argv.slice(2);
console.log(JSON.stringify(JSON.parse(chips).map((chip) => condition([chip], {}, mode))));
