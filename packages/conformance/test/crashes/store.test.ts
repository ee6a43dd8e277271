import { itSurvivesCrashes } from './explored.js';

itSurvivesCrashes('store', 30_000);
