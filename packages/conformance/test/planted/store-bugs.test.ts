import { itFindsPlantedBugs } from './found.js';

itFindsPlantedBugs(({ subject }) => subject === 'store');
