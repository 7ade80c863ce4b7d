"""Captions for the bundled CLIP's training: the attributes an image can have, their wordings, and its vocabulary."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import cycle

import numpy as np

from clippan_lite import clip, prompts

MOST_WORDS = 34  # the bundled tokenizer takes 38; some room is left for openings that users add
_DRAWS = 96  # random numbers drawn at once per caption: one array is faster than many scalars, and 96 are enough
#: Phrases for what covers most of an image, and for its dominant colour.
_MOSTLY = (
    "mostly {},covered by {},largely {},dominated by {},filled with {},chiefly {},predominantly {},"
    "with {} over most of it,mainly {},consisting of {}"
)
_TONED = "mostly {},dominated by {},with {} as its main tone,in {} hues,overwhelmingly {},in shades of {}"


def _list(text: str) -> list[str]:
    """A comma-separated list of wordings."""
    return [" ".join(part.split()) for part in text.split(",")]


def _table(text: str, phrases: str = "{}") -> dict[str, list[str]]:
    """Value -> wordings from "value: wording, wording; value: ...", each put into one of the phrases in turn."""
    rows = (row.split(":") for row in text.split(";"))
    return {
        value.strip(): [
            phrase.format(word)
            for phrase, word in zip(cycle(_list(phrases)), _list(words), strict=False)
        ]
        for value, words in rows
    }


def _amounts(faults: str, slight: str, strong: str) -> dict[str, list[str]]:
    """Wordings of a weak and a strong fault: adverbs with the fault's adjectives in turn, then whole phrases."""
    weak = _list(
        "slightly,mildly,a little,somewhat,faintly,a bit,marginally,subtly,barely,weakly,lightly"
    )
    much = _list(
        "strongly,heavily,severely,very,badly,extremely,massively,intensely,grossly,markedly,considerably,terribly,"
        "seriously,highly,obviously,hopelessly"
    )
    return {
        value: [
            f"{adverb} {fault}"
            for adverb, fault in zip(adverbs, cycle(_list(faults)), strict=False)
        ]
        + _list(more)
        for value, adverbs, more in (("slight", weak, slight), ("strong", much, strong))
    }


#: slot -> value -> wordings, the plainest first. A caption states a random subset of an image's slots. A wording with a
#: function word in it ("with halos") follows the noun, any other may stand before it.
WORDS: dict[str, dict[str, list[str]]] = {
    "content": _table("""
        field: fields, farmland, crops, agricultural fields, meadows and crops, cropland, arable land, a patchwork of
            fields, agricultural parcels, cultivated land, farm plots, strips of tilled land, rural countryside,
            agriculture, acreage, farms, agrarian land, croplands and grasslands, a rural landscape, a mosaic of
            parcels, tillage, acres of farmland, an agricultural plain, open fields, farming country, rectangular
            plots, a field, fields in a valley, smallholdings, field boundaries, harvest land, crop rows and meadows;
        forest: forest, trees, a dense forest, woodland, woods, a canopy of trees, tree crowns, a grove, treetops,
            wooded hills, coniferous forest, deciduous forest, timberland, a thicket, rainforest, jungle, taiga, a
            tree plantation, broadleaf woodland, an evergreen forest, a mixed forest, forested terrain, conifers,
            foliage, a pine forest, a spruce stand, oak woods, beech forest, birches, larches, firs and spruces,
            maples, a closed canopy, arboretum, leafy crowns, a copse, boreal forest, a forest reserve, tall trees and
            shadows between them, mangroves;
        houses: houses, a residential area, roofs and gardens, a town of houses, buildings with red roofs, homes, a
            village, a suburb, a neighbourhood, a neighborhood, a housing estate, dwellings, cottages, bungalows,
            villas, detached houses, terraced houses, family homes, a settlement, backyards, residences, a hamlet, an
            urban quarter, suburban houses, tiled rooftops, a built up area, gabled houses, housing, a township, a
            house, a city district, buildings, townhouses, semidetached homes, a municipality, homesteads with yards,
            chalets, a borough;
        industry: industry, an industrial area, large halls, warehouses with a white roof, industry and parking lots,
            factories, a factory, warehouses, depots, a logistics centre, a logistics center, a business park,
            commercial buildings, sheds, hangars, workshops, a shopping mall, supermarkets, a freight terminal,
            storage halls, car parks, a distribution hub, flat roofs, a manufacturing plant, big stores, an assembly
            plant, foundries, steelworks, breweries, a retail park, cargo halls, garages, data centres, an industrial
            estate, mills, a commercial zone, production halls, a wholesale market, an exhibition hall, an industrial
            complex;
        water: water, a lake, a river, dark water, a pond, a reservoir, a stream, a canal, a lagoon, a bay, the sea,
            an estuary, a creek, a channel, a fjord, still water, a waterway, an inlet, the ocean, a loch, a brook, a
            water surface, rivers, lakes, a strait, open water, a watercourse, a tributary, freshwater, a flooded
            basin, a gulf, a millpond, an oxbow, calm waters, a tarn;
        road: a road, a street, roads, a road beside a field, a highway, a motorway, an avenue, a lane, a carriageway,
            a boulevard, a freeway, a country road, a paved road, an expressway, a tarmac road, streets, a
            thoroughfare, an alley, a driveway, a bypass, a route, a turnpike, a main road, crossroads, an
            intersection, a junction, a dual carriageway, traffic lanes, a roadway, a transport corridor, an arterial
            road, a trunk road;
        soil: bare soil, sand, bare ground, dry soil, a desert, dunes, barren land, exposed earth, clay soil, loam,
            dirt, gravel, a sandy plain, wasteland, arid ground, ploughed earth, plowed soil, silt, badlands, a beach,
            fallow ground, mud, loess, laterite, marl, a dry riverbed, unvegetated terrain, an earthwork, rubble,
            scree, drylands, eroded ground
    """),
    "surface": _table(
        """
        grass: grass, meadow, pasture, lawn, grassland, turf, prairie, clover, sward, paddocks, rangeland, herbage,
            ryegrass, fescue, alfalfa, lucerne, greensward, grazing land, short grass, hayfields, savanna, leas;
        crop: crops, wheat, barley, maize, corn, rye, oats, sugar beet, potatoes, rapeseed, canola, soybeans, rice,
            cotton, sorghum, millet, peas, beans, lentils, hops, flax, hemp, cabbage, carrots, onions, turnips,
            vegetables, cereals, grain, tobacco, sugarcane, peanuts, chickpeas, spelt, triticale, buckwheat, mustard,
            kale, spinach, lettuce, leeks, pumpkins, growing plants, tomatoes, strawberries, beets, cassava;
        stubble: stubble, straw, harvested fields, mown fields, reaped grain, crop residue, dry stalks, withered
            plants, dried grass, hay, chaff, mulch, cut cereal, ripe stalks, parched vegetation, yellowed stems,
            senescent plants;
        trees: trees, pines, oaks, spruces, beech, birch, larch, firs, maple, ash trees, alders, poplars, hornbeams,
            lindens, elms, cedars, cypresses, willows, eucalyptus, chestnut trees, walnut trees, acacias, hazel,
            rowans, sycamores, leaves, tree canopy, conifer crowns, woody plants, sequoias, teak, mahogany, junipers,
            yews, bamboo;
        soil: bare soil, earth, ground, clay, humus, topsoil, furrows, ploughland, tilth, mud, loam, brown soil, dirt;
        sand: sand, desert sand, dunes, beach sand, quartz sand, sandbanks, shingle and sand, pale sand, sandhills;
        water: water, lake water, river water, seawater, waves, a water body, deep water, ripples, wet surfaces;
        asphalt: asphalt, tarmac, bitumen, blacktop, road surface, macadam, tar, asphalted ground, roadbed, runway;
        concrete: concrete, cement, paving slabs, hardstanding, flagstones, pavement, a concrete yard, aprons, plazas,
            sealed ground;
        roofs: roofs, rooftops, tiles, roof tiles, shingles, sheet metal, roofing, clay tiles, slates, flat roofs
    """,
        _MOSTLY,
    ),
    "tone": _table(
        """
        green: green, olive, emerald, lime green, moss green, greenish tones, jade, mint, fern green, viridian;
        brown: brown, ochre, tan, beige, sepia, brownish tones, khaki, chestnut, umber, chocolate, hazelnut, rusty tan;
        blue: blue, azure, navy, cobalt, bluish tones, indigo, ultramarine, turquoise, cerulean, sapphire;
        grey_tone: grey tones, gray tones, greyish tones, slate, silver, grayish tones, ashen tones, charcoal, lead;
        red: red, crimson, scarlet, ruby, reddish tones, maroon, vermilion, burgundy, carmine, magenta, cherry, pink
    """,
        _TONED,
    ),
    "light": _table("""
        dark: dark, dim, underexposed, gloomy, shadowy, darkened, of low brightness, poorly lit, murky, with deep
            shadows, sombre, unlit, with little light, dusky, blackish, of low radiance;
        bright: bright, luminous, well lit, sunlit, light, brightly lit, of high brightness, overexposed, brilliant,
            radiant, dazzling, with much light, whitish, illuminated, glaring, of high radiance, sunny
    """),
    "scale": _table("""
        close: close up, at half a metre per pixel, at half a meter per pixel, zoomed in, at close range, with
            submetre pixels, with submeter sampling, at a large map scale, showing small objects,
            near, with tiny pixels on the ground, at fine ground sampling, magnified, at building level;
        wide: wide, with pixels of tens of metres, at some twenty meters per pixel, zoomed out, of a wide area, of a
            broad region, at Landsat sampling, at Sentinel sampling, with medium sized pixels, at a small map scale,
            synoptic, regional, seen from far, at coarse ground
            sampling, of many square kilometres, of many kilometers, panoramic, distant
    """),
    "sharp": _table("""
        sharp: sharp, spatially sharp, with sharp details, in focus, high resolution, crisp, not blurred, without
            blur, well focused, finely detailed, with crisp edges, with fine spatial detail, of high acuity, well
            resolved, richly textured, with distinct contours, free of blur, razor sharp, with clean outlines,
            focussed, unblurred, with legible structures, precisely delineated, with well defined boundaries,
            intricate, of high definition, with fine textures, neither blurred nor oversharpened, at full sharpness,
            with recognisable objects;
        blurred: blurred, low resolution, with blurred details, out of focus, smooth and unsharp, blurry, unsharp,
            defocused, smeared, with soft edges, soft, not sharp, lacking detail, fuzzy, oversmoothed, with lost
            details, unfocused, with washed out edges, indistinct, poorly resolved, without fine detail, unfocussed,
            vague, of low acuity, with missing high frequencies, bleary, upsampled, interpolated, with smoothed
            texture, with attenuated edges, diffuse, like a gaussian blur, with a wide point spread function, woolly,
            undetailed, lowpass filtered;
        over: oversharpened, with halos, with exaggerated edges, too sharp with ringing, with overshoot, with edge
            halos, overenhanced, with ringing, with ringing artefacts, with ringing artifacts, sharpened too much,
            edgy, with bright rims, with too much detail injected, haloed, with excessive acutance, harsh, with gibbs
            ripples, with overshooting contours, with undershoot, unsharp masked, overprocessed, with amplified edges,
            artificial, with dark fringes along edges, crunchy, with overemphasised detail, with haloes, etched
    """),
    "noise": _table("""
        clean: clean, without noise, free of noise, noiseless, not noisy, noise free, denoised, not grainy, without
            speckle, without grain, of high signal to noise ratio, undisturbed, without sensor noise, of low variance;
        noisy: noisy, with noise, grainy, with sensor noise, speckled, with random noise, with shot noise, with
            gaussian noise, with grain, of low signal to noise ratio, with electronic noise, with salty pixels, with
            photon noise, with a noisy background, with readout noise, noise corrupted, peppered, with thermal noise,
            with speckle, gritty, with additive noise, with white noise, with fluctuating pixels, rough with static,
            snowy with noise
    """),
    "haze": _table("""
        clear: clear, without haze, high contrast, under a clear sky, not hazy, haze free, free of fog, dehazed,
            without mist, in clean air, with full contrast, contrasty, transparent, unveiled, cloudless, with a rich
            dynamic range, without atmospheric veil, with deep blacks, vivid, fogless;
        hazy: hazy, with haze, low contrast, seen through haze, foggy, misty, veiled, under thin cloud, murky with
            vapour, with a milky veil, with atmospheric scattering, in fog, in mist, in smog, smoky, with path
            radiance, faded, pale, with reduced contrast, with aerosol scattering, seen through vapor, washed out,
            under cirrus, with lifted blacks, clouded, dusty, with a whitish veil, milky, bleached, flat in contrast,
            seen through smoke
    """),
    "chroma": _table("""
        coloured: in colour, in color, coloured, colored, with colours, with colors, RGB, colourful, colorful, with
            three different bands, with hues, not grey, not gray, polychrome, chromatic, in several bands;
        grey: in grey, in gray, grayscale, single band, black and white, greyscale, monochrome, achromatic, without
            colour, without color, colourless, colorless, grey, gray, in grey levels, in gray levels, in one band,
            monochromatic, in black and white, of intensity only, uncoloured, in shades between black and white, one
            channel, with equal channels, desaturated, luminance only, uncolored
    """),
    "colour": _table("""
        natural: in natural colours, spectrally consistent with original data, with faithful spectra, in
            natural colors, in true colour, in true color, naturally coloured, with correct colours, with
            realistic hues, without spectral distortion, with genuine colours, colour faithful, spectrally faithful,
            with unbiased spectra, with authentic color, undistorted in colour, with preserved spectra, well balanced,
            with neutral white balance, with lifelike colours, naturally colored, with red green and blue where
            they belong, with accurate hue, with plausible colours, spectrally correct, not tinted;
        false: with false colours, colour distorted, spectrally distorted, with wrong spectra, with false colors, with
            a colour cast, with a color cast, tinted, discoloured, discolored, with unnatural colours, miscoloured,
            with shifted hue, with spectral distortion, with wrong white balance, with strange hues, with biased
            spectra, with altered band ratios, spectrally inconsistent, unfaithful in colour, with incorrect color,
            stained, with a greenish or bluish cast, with implausible colours, with falsified radiometry, with wrong
            band gains, spectrally unfaithful, with unbalanced bands, miscalibrated, color distorted;
        infrared: in colour infrared, in color infrared, with vegetation shown red, with infrared shown as red, CIR,
            near infrared, in near infrared green and blue, with red vegetation, in an infrared composite, NIR
            composite, infrared, with plants in red, with glowing red leaves, with the NIR band as red, with NIR in
            the red channel, with chlorophyll shown red, as an infrared rendition
    """),
    "aligned": _table("""
        aligned: well registered, aligned, well aligned, coregistered, without fringes, without colour fringes, not
            misregistered, registered, with matching bands, without ghosts, geometrically consistent, with coinciding
            edges, congruent, without band shifts, exactly superimposed, precisely overlaid, geometrically accurate;
        fringed: misregistered, with colour fringes, with shifted bands, with color fringes, misaligned, unregistered,
            ghosted, with ghosting, with double contours, with displaced bands, with band misregistration, not
            aligned, fringed, with rainbow edges, with chromatic aberration, with bands out of place, with parallax
            between bands, with offset channels, with double edges, with ghost outlines, not coregistered, with
            disparate band positions
    """),
    "blocks": _table("""
        smooth: without blocks, not blocky, not pixelated, free of blocks, continuous, without visible squares;
        blocky: blocky, with blocks, pixelated, with square blocks, with visible squares, pixelised, mosaicked, with
            large pixels, with staircase edges, jagged, nearest neighbour enlarged, nearest neighbor enlarged, chunky,
            tessellated, with checkered structure, in coarse squares, stepped, with jaggies, with block artefacts,
            aliased
    """),
    "blur_amount": _amounts(
        "blurred,unsharp,defocused,smeared",
        "with a slight blur,with a small loss of detail,softened",
        "strongly blurred without any detail,with heavy blur,unrecognisable",
    ),
    "halo_amount": _amounts(
        "oversharpened,haloed,overenhanced",
        "with faint halos,with a touch of ringing,with thin halos",
        "with glaring halos,with strong ringing,with thick halos",
    ),
    "noise_amount": _amounts(
        "noisy,grainy,speckled",
        "with weak noise,with a trace of noise,with fine grain,with low noise",
        "with strong noise,drowned in noise,buried in noise,with coarse grain",
    ),
    "haze_amount": _amounts(
        "hazy,foggy,misty,veiled",
        "with thin haze,with light mist,with a light veil,with a gauzy veil",
        "with thick fog,in dense haze,hidden by haze,obscured by fog",
    ),
    "colour_amount": _amounts(
        "colour distorted,tinted,discoloured,color distorted,false in colour,false in color,discolored",
        "with slightly false colours,with a weak colour cast,with minor hue errors",
        "with strongly false colours,with garish wrong colours,psychedelic,lurid",
    ),
    "shift_amount": _amounts(
        "misregistered,misaligned,fringed",
        "with narrow fringes,with a small band shift,with thin fringes",
        "with broad fringes,with a large band shift,with wide fringes",
    ),
    "verdict": _table("""
        good: high quality, of high quality, flawless, excellent, of good quality, perfect, good, without defects,
            faultless, pristine, without artefacts, without artifacts, immaculate, great, undegraded, very good, of
            superb quality, fine, outstanding, usable, intact, of excellent quality, without faults, superior,
            professional, first class, nice, impeccable, spotless, free of distortions, best quality, beautiful, of
            premium quality, unimpeachable, ideal, with nothing wrong, trustworthy, reliable, unspoiled, splendid, top
            quality, optimal, satisfactory, unblemished;
        poor: low quality, of low quality, degraded, defective, of poor quality, bad, poor, with defects, faulty,
            flawed, damaged, with artefacts, with artifacts, corrupted, impaired, inferior, unusable, of bad quality,
            deteriorated, imperfect, spoiled, with visible faults, terrible, awful, of unacceptable quality, ruined,
            mediocre, disturbed, substandard, useless, deficient, worst quality, ugly, not good, with something wrong,
            failed, botched, unreliable, unsatisfactory, marred, disappointing, with errors, horrible, insufficient,
            distorted
    """),
    "type": _table("""
        ms: multispectral, low resolution multispectral, original multispectral, MS, multiband,
            multichannel, from a multispectral sensor, MS input, LRMS, coarse multispectral, with several spectral
            bands, as a multispectral product, of low spatial and high spectral resolution, multi
            spectral, unfused multispectral, observed multispectral, from the multispectral camera, spectral input,
            raw multispectral, before pansharpening, before fusion, unsharpened multispectral, not yet pansharpened,
            low resolution MS, from the spectral bands alone, spectrally rich but spatially coarse, source
            multispectral, multicolour, upsampled multispectral, expanded multispectral, not pansharpened, multicolor;
        pan: panchromatic, high resolution panchromatic, grayscale panchromatic, PAN, pan, pan band, single band
            panchromatic, from a panchromatic sensor, original panchromatic, panchromatic input, grey panchromatic,
            gray panchromatic, as a panchromatic product, in one broad panchromatic band, greyscale panchromatic,
            broadband panchromatic, from the panchromatic camera, sharp panchromatic, monochrome panchromatic, high
            resolution PAN, PAN input, from the pan channel, in panchromatic mode, panchromatic band, detail rich
            panchromatic, raw panchromatic, of high spatial and no spectral resolution, black and white panchromatic,
            panchromatic source;
        hrms: pansharpened, fused, high quality reference, high resolution multispectral, HRMS, pan sharpened,
            pansharpening, made by pansharpening, from image fusion, after fusion, after pansharpening, successfully
            fused, merged, sharpened multispectral, as a fusion product, ground truth, reference, high quality fused,
            blended, combined, resolution enhanced multispectral, target, with the detail of the pan band and the
            colours of the MS bands, super resolved multispectral, well pansharpened, ideal fused, high quality
            pansharpened, superresolved, of high spatial and high spectral resolution, sharp multispectral, fully
            fused, spatially enhanced, desired
    """),
}
#: Sentences that only a good fused image deserves. "panchromatic" stands only beside "Khan": elsewhere it means PAN.
PROTOCOL = [
    "high quality reference image adhering to Wald protocol",
    "adhering to Wald protocol: spectrally consistent with original data and spatially sharp",
    "high quality fused image following Khan protocol",
    "following Khan protocol: low frequencies from the multispectral image, details from the panchromatic image",
    "high quality reference image: spectrally consistent with original data and spatially sharp",
    "high quality pansharpened image that satisfies Wald protocol",
    "fused image obeying the consistency property and the synthesis property of Wald",
    "consistent with the multispectral input once degraded, and as sharp as the pan band",
    "when downsampled it equals the original multispectral data, by the consistency property",
    "as identical as possible to what the sensor would observe at the higher resolution, as Wald requires",
    "ideal fusion result meeting Wald criteria of consistency and synthesis",
    "reference image with high spectral fidelity and high spatial fidelity",
    "pansharpened image with preserved spectra and injected spatial detail",
    "fusion product with the spectral fidelity of the MS data and the spatial detail of the pan data",
    "ground truth at full resolution, free of spectral distortion and of spatial distortion",
    "simulated ground truth of Wald reduced resolution assessment",
    "lowpass content agrees with the multispectral bands, highpass content agrees with the panchromatic band: Khan",
    "passes Khan protocol: spectral quality at low frequencies and spatial quality at high frequencies",
    "image complying with Khan spectral index and spatial index",
    "pansharpening without spectral loss and without spatial loss",
    "high quality fusion, quality with no reference index near one, no spectral and no spatial distortion",
    "sharp colour image that respects radiometry and spectral signatures of the source",
    "spatially sharp and spectrally faithful pansharpened image",
    "reference quality: exact radiometry, exact geometry, crisp detail",
    "fused multispectral image conforming to both Wald protocol and Khan protocol",
    "image validated by Wald protocol at reduced scale",
    "best fused image: spectral angle near zero, low relative error, high correlation with the reference",
    "resampled to the coarse grid it reproduces the original MS image, as Wald demands",
    "all spectral information of the multispectral image and all geometric information of the pan image",
    "modulation transfer function matched detail injection with spectral consistency",
    "high resolution multispectral image that verifies consistency, synthesis and vector synthesis",
    "high fidelity pansharpened product fulfilling every property of Wald protocol",
]
NOUNS = _list(
    "image,satellite image,overhead scene,aerial photograph,picture from above,scene,photo,photograph,picture,frame,"
    "snapshot,tile,patch,view,shot,remote sensing image,orthophoto,orthoimage,capture,acquisition,raster,scan,subset,"
    "subscene,excerpt,window,section,cutout,sample,earth observation image,airborne image,spaceborne image,aerial view,"
    "satellite picture,satellite photo,nadir view,drone photo,top view,bird eye view,dataset entry,"
    "swath,footprint,space photograph,recording,observation"
)
# Fillers: words that users write and that say nothing about the attributes. They are true of every image.
_OPENINGS = _list(
    "this is a,here is a,a view of a,there is a,we see a,you can see a,it is a,one can see a,please look at a,"
    "an example of a,this shows a,behold a,consider a,imagine a,i have a,let us inspect a,displayed is a,below lies a,"
    "the following is a,a typical case of a,just a,simply a,that was a,these pixels form a,what follows is a"
)
_VERBS = _list(
    "taken,acquired,captured,recorded,collected,imaged,photographed,measured,obtained,delivered,scanned,"
    "transmitted,downlinked,archived,provided,gathered,produced,tasked,received"
)
_SENSORS = _list(
    "WorldView,QuickBird,IKONOS,GeoEye,Gaofen,Pleiades,SPOT,KOMPSAT,RapidEye,Deimos,Ziyuan,Jilin,SuperView,Cartosat,"
    "ALOS,Formosat,SkySat,a satellite,an aircraft,a drone,a plane,a helicopter,a balloon,an airship,an orbiter,"
    "a spacecraft,a pushbroom scanner,a camera,a telescope,a frame sensor,a space agency,a survey flight,"
    "a detector array,a digital instrument,a UAV,a commercial operator,a student,a mapping mission,a constellation"
)
_PLACES = _list(
    "over Europe,over Asia,over Africa,over America,over Australia,near Berlin,near Paris,near London,near Rome,"
    "near Vienna,near Madrid,near Munich,near Beijing,near Tokyo,near Sydney,in Germany,in France,in Italy,in Spain,"
    "in China,in India,in Brazil,in Canada,in Poland,in Bavaria,in Tuscany,in Texas,in California,in Washington,"
    "in spring,in summer,in autumn,in winter,in fall,in the morning,at noon,in the afternoon,in may,in june,in july,"
    "in august,in september,in april,in march,last year,yesterday,from orbit,from the air,from space,from nadir,"
    "on monday,this week,in the north,in the south,in the east,in the west,somewhere,for a study,for a map,"
    "for research,in a test,for teaching,at an unknown location,for monitoring,for land use mapping,today,on earth"
)
_LINKS = _list(
    "of,showing,with,depicting,containing,covering,picturing,that contains,in which we see,featuring"
)
SLOTS = tuple(WORDS)
VALUES = {slot: tuple(values) for slot, values in WORDS.items()}

_AT = {slot: i for i, slot in enumerate(SLOTS)}
_SELDOM = ("surface", "tone", "light", "scale")
_QUALITY = ("sharp", "noise", "haze", "chroma", "colour", "aligned", "blocks", "verdict")
#: (slot, value) of a fault -> the slot that says how much of it there is.
_AMOUNT = {
    ("sharp", 1): "blur_amount",
    ("sharp", 2): "halo_amount",
    ("noise", 1): "noise_amount",
    ("haze", 1): "haze_amount",
    ("colour", 1): "colour_amount",
    ("aligned", 1): "shift_amount",
}
_MAIN = {amount: slot for (slot, _), amount in _AMOUNT.items()}
_SPOKEN = {(slot, i): w for slot in SLOTS for i, w in enumerate(WORDS[slot].values())}
_PREPOSITIONS = frozenset(
    _list("with,without,in,of,from,by,under,through,at,as,after,before,free,like,for")
)
_FUNCTION = _PREPOSITIONS | frozenset(
    _list("to,not,a,than,or,neither,much,nothing,between,on,out,seen,showing")
)
#: Wordings that can stand before the noun.
_ADJECTIVES = frozenset(
    w for ws in _SPOKEN.values() for w in ws if not _FUNCTION.intersection(w.split())
)
_GLUE = "a an and that is by"
_BEFORE_VOWEL = re.compile(r"\ba (?=(?!uni|us[ae]|eu|one)[aeiou]|MS\b|NIR\b|RGB\b|HRMS\b|LRMS\b)")


def vocabulary() -> list[str]:
    """All words that captions and the package's prompts can hold, sorted."""
    texts = [text for wordings in _SPOKEN.values() for text in wordings]
    texts += [*PROTOCOL, *NOUNS, *_OPENINGS, *_VERBS, *_SENSORS, *_PLACES, *_LINKS, _GLUE]
    texts += [text for p in prompts.PROMPTS.values() for text in (p.ms, p.pan, p.hrms)]
    return sorted({word for text in texts for word in clip.split_words(text)})


def _any(wordings: list[str], u: float) -> str:
    """The wording that a uniform number in [0, 1) falls on."""
    return wordings[int(u * len(wordings))]


def _plain(wordings: list[str], u: float) -> str:
    """The same, but the first and plainest wording comes in 30 % of the cases."""
    if u < 0.3 or len(wordings) == 1:
        return wordings[0]
    return wordings[1 + int((u - 0.3) / 0.7 * (len(wordings) - 1))]


def _choose(has: list[int], short: bool, draw: Callable[[], float]) -> list[str]:
    """The slots to speak of: at least one if anything is known, two at most in a short caption."""
    chances = [
        ("type", 0.35),
        ("content", 0.3 if short else 0.58),
        *((slot, 0.12) for slot in _SELDOM),
    ]
    slots = [slot for slot, chance in chances if has[_AT[slot]] >= 0 and draw() < chance]
    # What is wrong with an image is worth saying more often than what is right with it: drawn without replacement
    # with weights 3 and 1, which is the order of u ** (1 / weight).
    keys = {s: draw() ** (1 / 3 if has[_AT[s]] > 0 else 1.0) for s in _QUALITY if has[_AT[s]] >= 0}
    quality = sorted(keys, key=keys.__getitem__, reverse=True)[: int(draw() * 4) or int(not slots)]
    for slot in quality:
        amount = _AMOUNT.get((slot, has[_AT[slot]]))
        slots.append(amount if amount and has[_AT[amount]] >= 0 and draw() < 0.4 else slot)
    if not slots:  # only slots that are seldom stated are known
        slots = [slot for slot in ("type", "content", *_SELDOM) if has[_AT[slot]] >= 0][:1]
    return slots[:2] if short else slots


def _tail(text: str, after: list[str], comma: bool, draw: Callable[[], float]) -> str:
    """A text with the wordings that follow its noun."""
    for wording in after:
        if not comma and wording.split(" ", 1)[0] in _PREPOSITIONS:
            text += " " + wording
        elif not comma and wording in _ADJECTIVES and draw() < 0.4:
            text += " that is " + wording
        else:
            last = comma and wording == after[-1] and wording not in _ADJECTIVES
            text += (" and " if last and draw() < 0.3 else ", ") + wording
        comma = True
    return text


def caption(attributes: np.ndarray, rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """One caption true of an image, of 34 words at most, and the slots it states (-1 where it says nothing).

    ``attributes`` holds an index into VALUES per slot, -1 where the image has no such attribute (an image that is
    neither MS nor PAN nor HRMS, or whose content is mixed). A stated amount states its fault too, so the caption is
    true of another image exactly if all stated slots agree. An amount whose fault the image has not is ignored.
    """
    has, stated = attributes.tolist(), [-1] * len(SLOTS)
    draw = iter(rng.random(_DRAWS).tolist()).__next__
    short, content, before, after = draw() < 0.2, "", [], []
    slots = _choose(has, short, draw)
    bare, protocol = short and draw() < 0.35, ""
    if (
        "type" in slots
        and VALUES["type"][has[_AT["type"]]] == "hrms"
        and not short
        and draw() < 0.5
    ):
        protocol = _any(PROTOCOL, draw())
    words = len(protocol.split()) or 8  # 8: the longest opening and noun
    for slot in slots:
        wording = (
            "" if protocol and slot == "type" else _plain(_SPOKEN[slot, has[_AT[slot]]], draw())
        )
        words += len(wording.split()) + (
            4 if slot == "content" else 2
        )  # and the longest words that join it
        if words > MOST_WORDS:
            break
        for slot_said in (slot, _MAIN.get(slot, slot)):
            stated[_AT[slot_said]] = has[_AT[slot_said]]
        if slot == "content" and not bare:
            content = f" {_any(_LINKS, draw())} {wording}"
        elif slot == "type" and wording in _ADJECTIVES:
            before.append(" " + wording)
        elif (
            wording in _ADJECTIVES
            and slot not in ("content", "surface")
            and len(before) < 3
            and not protocol
            and draw() < 0.5
        ):
            comma = before and not (len(before) == 1 and stated[_AT["type"]] >= 0)
            before.insert(0, f" {wording}{',' if comma else ''}")
        elif wording:
            after.append(wording)
    if bare:
        text = ", ".join(filter(None, ["".join(before).strip(), *after])) or "image"
        return (text + " image" if before and not after and draw() < 0.5 else text), np.array(
            stated
        )
    opening = _any(_OPENINGS, draw()) if draw() < 0.12 else "a"
    text = protocol or f"{opening}{''.join(before)} {_plain(NOUNS, draw())}"
    text = _tail(
        text + ("," if protocol and content else "") + content,
        after,
        bool(protocol or content),
        draw,
    )
    if not short and draw() < 0.3:
        filler = (
            _any(_PLACES, draw())
            if draw() < 0.5
            else f"{_any(_VERBS, draw())} by {_any(_SENSORS, draw())}"
        )
        text += f", {filler}" if text.count(" ") + 7 <= MOST_WORDS else ""
    return _BEFORE_VOWEL.sub("an ", text), np.array(stated)
