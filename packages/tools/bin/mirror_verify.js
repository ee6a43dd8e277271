#!/usr/bin/env node
import { main } from '../dist/main.js';

process.exitCode = await main(['mirror_verify', ...process.argv.slice(2)]);
