"""Common words of English video captions by their part of speech, for tagging without a trained tagger."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


BE = _words("is are was were be been being am 're 'm 've has have had having does do did n't")
MODALS = _words("can could will would should may might must ca wo 'll 'd does do did")
PRONOUNS = _words(
    """i you he she it we they me him them us someone somebody something anyone anything everyone everything nobody
    nothing who another each others himself herself itself themselves"""
)
FUNCTION = _words(
    """a an the this that these those some any all both more most no not every either half lots
    of in on at by for with without from to 's s into onto over under above below behind beside besides between among
    through across along around about against after before during until till upon near inside outside off out up down
    toward towards away back past per than via like as beneath within throughout atop underneath
    and or but nor so if because while when where how why what which whose then also too very just only even still
    there here again together alone apart aside forward backward backwards forwards upward upwards downward sideways
    fast indoors outdoors upside ahead almost next once twice now
    his her its their our your my one two three four five six seven eight nine ten eleven twelve dozen hundred"""
)
PLURALS = _words("people men women children kids guys police cattle sheep deer teeth feet mice geese folks crowd pair")
ADJECTIVES = _words(
    """big small little large huge tiny tall short long young old new red green blue yellow white black brown pink
    purple orange grey gray golden blonde blond bald dark bright light hot cold warm cool wet dry dirty clean empty
    full open closed heavy soft hard loud quiet happy sad angry funny cute beautiful pretty handsome attractive fat
    thin slim skinny wild wooden plastic electric electronic acoustic musical live dead asleep awake fresh raw ripe
    sharp round square flat deep shallow high low rough smooth thick narrow wide strong weak fancy crazy famous popular
    different same various own military asian african american indian chinese japanese korean british french spanish
    italian german russian mexican professional female male elderly middle-aged bare naked colorful colourful animated
    virtual sunny snowy rainy grassy rocky sandy muddy steep slow quick stuffed fried boiled parked crowded curly ugly
    friendly lonely silly tasty delicious special local public formal traditional modern olympic real fake single blind
    sick injured busy ready nice good bad great best better left right upper lower last final entire whole other many
    much few several first second third underwater polar"""
)
NOUNS = _words(
    """ring king string spring wing swing thing things building buildings ceiling wedding clothing
    evening morning paintings drawings ping pong stocking stockings railing
    bed beds sled shed seed weed reed feed speed breed moped food family families belly fly jelly lily
    bully assembly butterfly ally sibling duckling dumpling pudding viking icing"""
)
PAST = _words(
    """ran sang rode drove threw took gave got made went came saw ate drank fell flew swam sat stood lay slept fought
    held shot won lost met told said spoke wrote drew broke caught cut put hit let shut set spun swung hung dug fed led
    sold bought brought taught kept left began blew grew knew shook slid spread tore wore wrapped done seen taken given
    driven ridden thrown eaten broken written shown torn worn fallen hidden frozen chosen flown grown built"""
)
VERBS = _words(
    """act add aim answer appear apply approach argue arrange arrive ask assemble attach attack attempt bake balance
    bark bathe beat become begin bend bite blend block blow boil bounce bow bowl box break breathe bring brush build
    bump burn bury buy call care carry carve catch celebrate change chase check cheer chew chop clap clean climb close
    coat collect comb combine come compete complain conduct cook cough cover crack crawl cross crouch crush cry cut
    dance decorate demonstrate describe dig dip discuss dive do drag draw dress drill drink drip drive drop drum dry
    eat enjoy enter examine exercise explain explode face fall feed feel fight fill find finish fire fix flip float fly
    fold follow fry gather get give glide go grab grate graze grill grind hand handle hang have heat help hide hit hold
    hop hug hunt imitate inspect interview introduce iron jog juggle jump keep kick kill kiss knead kneel knit knock
    land laugh lay lead lean leap learn leave lecture let lick lie lift light listen load lock look lose lower make
    march measure meet melt milk mix model mop move mow narrate need nod nurse observe offer open operate pack paddle
    paint park pass paste pat pedal peel perform pet pick pin place plant play point poke pose pour practice practise
    praise prepare present press pretend promote pull punch push put race raise reach read record relax remove repair
    rest ride ring rinse rise roast roll row rub run sail salute saw say scoop score scrape scratch scream scrub search
    season see sell separate serve set sew shake share shave shoot shout show shred shut sing sit skate sketch ski skip
    sled sleep slice slide slip smash smell smile smoke snap sniff soak speak spill spin splash split spray spread
    sprinkle squeeze squirt stack stand stare start steal step stick stir stop strain stretch stroke strum study swim
    swing switch take talk tap taste teach tear tease tell test throw tie toss touch train travel trim trip try turn
    twirl twist type unload unwrap use visit wait wake walk wander want wash watch water wave wear weave whip whisk
    whistle win wipe work wrap wrestle write yell zoom"""
)
